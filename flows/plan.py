"""What a job will cost, before it runs: tokens, FLOPs, GPU memory, disk (METHOD.md 7).

Estimates from sizes, not measurements: 2 FLOPs a parameter and token forward, 6 in training; hours are those of an
H200 (989 dense bf16 TFLOP/s by its datasheet) at the efficiency that is usual, half of the peak in training, 0.6
forward. Where the trainings take several GPUs, their hours are those on all of them.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flows.fleet import GPU_BYTES, MASTER_AND_ADAM, ROOM, Size, fleet_for, own_fleet, training_bytes
from flows.inputs import Inputs
from flows.job import Job
from storage.workspace import Workspace
from tasks.answers import asked_about
from tasks.engine.runner import Plan
from tasks.llm.asking import tokens_for
from tasks.llm.store import answered_before, question_of
from tasks.models import Model, config_of, vocabulary_size
from tasks.texts import normalise, read_texts
from tasks.training.settings import steps_of_epochs

PEAK_FLOPS = 989e12
TRAINING_EFFICIENCY, FORWARD_EFFICIENCY = 0.5, 0.6
SAMPLE_CHARACTERS = 200_000
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GRADIENTS = 4  # of the bytes of MASTER_AND_ADAM; a checkpoint is the others
CARD = f"{ROOM / 2**30:.0f} GiB, the usable part of an H200's {GPU_BYTES / 2**30:.0f}"

Row = dict[str, Any]
Leg = tuple[int, int | None]
"""The steps of a student that is taught from pause to pause: done before, and the step at which it pauses."""


def cost(plan: Plan, job: Job, inputs: Inputs) -> list[Row]:
    """A row for each artifact: stage, cached or not, and what making it will take (zeros where it is cached)."""
    size = size_of(inputs, job.corpus.text_column)
    pauses: dict[str, int] = {step.artifact.fingerprint: step.inputs.get("until") or 0 for step in plan.steps}
    rows = []
    for step in plan.steps:
        kind, before, needs = step.stage.kind, step.inputs.get("before"), _needs()
        if kind in ESTIMATES and not step.cached:
            leg = (pauses[before.fingerprint] if before else 0, step.inputs.get("until"))
            needs = ESTIMATES[kind](job, size, leg)
        if kind == "answers" and not step.cached:
            needs |= asking(job, inputs, plan.workspace)
        rows.append({"stage": kind, "artifact": step.artifact.folder, "cached": step.cached} | needs)
    return rows


def asking(job: Job, inputs: Inputs, workspace: Workspace) -> Row:
    """Requests to the language model, faults aside, and the tokens they take. What was answered before is free."""
    settings = job.dictionary.llm
    texts = dict.fromkeys(normalise(text) for text in own_texts(inputs, job.corpus.text_column))
    passages = asked_about((text for text in texts if text.strip()), settings)
    asked = {question_of(passage, settings): len(passage.text) for passage in passages}
    known = answered_before(workspace, asked)
    costs = [tokens_for(characters) for question, characters in asked.items() if question not in known]
    return {"requests": len(costs), "tokens": sum(costs)}


def size_of(inputs: Inputs, text_column: str) -> Size:
    """Parameters from the weights' headers; tokens from a sample of the corpus."""
    config = config_of(inputs.baseline.path)
    return Size(
        parameters=parameters_of(inputs.baseline),
        vocabulary=vocabulary_size(inputs.baseline),
        hidden=int(config.get("hidden_size") or config.get("n_embd") or 0),
        layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        tokens=tokens_of(inputs, text_column),
    )


def parameters_of(model: Model) -> int:
    """Numbers in all safetensors files, read from their headers."""
    total = 0
    for path in Path(model.path).glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for length in tensor["shape"]:
                    count *= length
                total += count
    return total


def own_texts(inputs: Inputs, text_column: str) -> Iterator[str]:
    """The texts of the user's files; what the model is yet to be asked for is not known."""
    for _, text in read_texts(inputs.corpus, text_column) if inputs.corpus else ():
        yield text


def tokens_of(inputs: Inputs, text_column: str) -> int:
    """Tokens of the target corpus, from its length and a sample of its beginning."""
    from tokenizers import Tokenizer

    sample, characters = "", 0
    for text in own_texts(inputs, text_column):
        characters += len(text)
        sample += text[: max(0, SAMPLE_CHARACTERS - len(sample))]
    tokens = len(Tokenizer.from_file(inputs.baseline.tokenizer.paths[0]).encode(sample).ids)
    return round(tokens * characters / max(1, len(sample)))


def _needs(tokens: float = 0, flops: float = 0, efficiency: float = 1, gpu_bytes: float = 0, disk: float = 0) -> Row:
    hours = flops / (PEAK_FLOPS * efficiency) / 3600
    return {
        "requests": 0,
        "tokens": round(tokens),
        "flops": flops,
        "gpu_hours": hours,
        "hours": hours,
        "gpus": 1 if gpu_bytes else 0,
        "gpu_bytes": round(gpu_bytes),
        "disk_bytes": round(disk),
        "told": "",
    }


def _blocks(job: Job, size: Size, leg: Leg) -> Row:
    return _needs(tokens=size.tokens, disk=20 * size.tokens)


def _training(job: Job, size: Size, batch: int, length: int, tokens: float, disk: float) -> Row:
    """A training on the job's GPUs, or on as many as it takes."""
    found, own = fleet_for(job, size), own_fleet(job)
    fleet = found or own
    needs = _needs(
        tokens=tokens,
        flops=6 * size.parameters * tokens,
        efficiency=TRAINING_EFFICIENCY,
        gpu_bytes=training_bytes(fleet, batch, length, size),
        disk=disk,
    )
    told = "" if found == own else f"The trainings fit {fleet.gpus} GPU{'s' * (fleet.gpus > 1)}: {fleet.settings()}."
    if found is None:
        told = f"The trainings find no room on any number of GPUs that divides their batches, each with {CARD}."
    return needs | {"gpus": fleet.gpus, "hours": needs["gpu_hours"] / fleet.gpus, "told": told}


def _reinforce(job: Job, size: Size, leg: Leg) -> Row:
    batch, length = job.reinforce.batch, job.reinforce.length
    blocks = max(1, math.ceil(size.tokens / length))
    drawn = steps_of_epochs(blocks, job.reinforce.epochs, batch) * batch
    disk = size.parameters * BYTES[job.reinforce.weights]
    return _training(job, size, batch, length, drawn * size.tokens / blocks, disk)


def _logits(job: Job, size: Size, leg: Leg) -> Row:
    needs = _needs(
        tokens=2 * size.tokens,
        flops=2 * 2 * size.parameters * size.tokens,
        efficiency=FORWARD_EFFICIENCY,
        gpu_bytes=2 * size.parameters * BYTES[job.logits.precision] + 2 * size.vocabulary * size.hidden * 4 + 2**31,
        disk=size.tokens * (20 + 9 * job.logits.top),
    )
    return _whole("logits", needs)


def _whole(stage: str, needs: Row) -> Row:
    """A stage that holds whole models on one GPU, with a word where they do not fit."""
    if needs["gpu_bytes"] <= ROOM:
        return needs
    found = f"{needs['gpu_bytes'] / 2**30:.0f} GiB"
    return needs | {"told": f"{stage} holds whole models on one GPU, {found}: more than {CARD}."}


def _labels(job: Job, size: Size, leg: Leg) -> Row:
    candidates = job.logits.top if job.labels.soft else 0
    return _needs(tokens=size.tokens, disk=8 * (1 + candidates) * size.tokens)


def _student(job: Job, size: Size, leg: Leg) -> Row:
    """A pause before the last step leaves a checkpoint."""
    settings, first, last = job.student, leg[0], leg[1] or job.student.steps
    tokens = (last - first) * settings.batch * job.blocks.length
    kept = sum(first < step <= last for step in settings.kept)
    checkpoint = (MASTER_AND_ADAM - GRADIENTS) * (last < settings.steps)
    disk = size.parameters * (BYTES[settings.weights] * kept + checkpoint)
    row = _training(job, size, settings.batch, job.blocks.length, tokens, disk)
    times = 2 if settings.hardening else 1  # each batch is learned at two places
    return row | {name: times * row[name] for name in ("flops", "gpu_hours")}


def _evaluation(job: Job, size: Size, leg: Leg) -> Row:
    return _whole("evaluation", _needs(gpu_bytes=size.parameters * BYTES["float32"]))


ESTIMATES: dict[str, Callable[[Job, Size, Leg], Row]] = {
    "blocks": _blocks,
    "reinforce": _reinforce,
    "logits": _logits,
    "labels": _labels,
    "student": _student,
    "evaluation": _evaluation,
}
