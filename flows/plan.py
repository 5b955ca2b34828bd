"""What a job will cost, before it runs: tokens, FLOPs, GPU memory, disk (METHOD.md 7).

Estimates from sizes, not measurements: 2 FLOPs a parameter and token forward, 6 in training; hours are those of one
H200 (989 dense bf16 TFLOP/s by its datasheet) at the efficiency that is usual, half of the peak in training, 0.6
forward.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.job import Given, Job
from storage.workspace import Workspace
from tasks.answers import asked_about
from tasks.corpus import normalise, read_texts
from tasks.extraction.asking import tokens_for
from tasks.extraction.store import answered_before, question_of
from tasks.models import Model, config_of, vocabulary_size
from tasks.stage import Plan

PEAK_FLOPS = 989e12
TRAINING_EFFICIENCY, FORWARD_EFFICIENCY = 0.5, 0.6
SAMPLE_CHARACTERS = 200_000
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
MASTER_AND_ADAM = 16  # bytes a parameter: float32 weights, gradients and two moments
ACTIVATIONS_PER_HIDDEN = (
    34  # bytes a token, layer and hidden unit in bf16 without recomputation (Korthikanti et al. 2022)
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """What the estimates are made of."""

    parameters: int
    vocabulary: int
    hidden: int
    layers: int
    tokens: int
    """Tokens of the target corpus."""


def cost(plan: Plan, job: Job, given: Given) -> list[Row]:
    """A row for each artifact: stage, cached or not, and what making it will take (zeros where it is cached)."""
    size = size_of(given, job.corpus.text_column)
    rows = []
    for stage, artifact, _, cached in plan.steps:
        estimate = ESTIMATES.get(stage.kind, _nothing)
        needs = _nothing(job, size) if cached else estimate(job, size)
        if stage.kind == "answers" and not cached:
            needs |= asking(job, given, plan.workspace)
        rows.append({"stage": stage.kind, "artifact": artifact.folder, "cached": cached} | needs)
    return rows


def asking(job: Job, given: Given, workspace: Workspace) -> Row:
    """Requests to the language model, faults aside, and the tokens they take. What was answered before is free."""
    settings = job.dictionary.llm
    texts = dict.fromkeys(normalise(text) for _, text in read_texts(given.corpus, job.corpus.text_column))
    passages = asked_about((text for text in texts if text.strip()), settings)
    asked = {question_of(passage, settings): len(passage.text) for passage in passages}
    known = answered_before(workspace.root, asked)
    costs = [tokens_for(characters) for question, characters in asked.items() if question not in known]
    return {"requests": len(costs), "tokens": sum(costs)}


def size_of(given: Given, text_column: str) -> Size:
    """Parameters from the weights' headers; tokens from a sample of the corpus."""
    config = config_of(given.baseline.path)
    return Size(
        parameters=parameters_of(given.baseline),
        vocabulary=vocabulary_size(given.baseline),
        hidden=int(config.get("hidden_size") or config.get("n_embd") or 0),
        layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        tokens=tokens_of(given, text_column),
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


def tokens_of(given: Given, text_column: str) -> int:
    """Tokens of the target corpus, from its length and a sample of its beginning."""
    from tokenizers import Tokenizer

    sample, characters = "", 0
    for _, text in read_texts(given.corpus, text_column):
        characters += len(text)
        sample += text[: max(0, SAMPLE_CHARACTERS - len(sample))]
    tokens = len(Tokenizer.from_file(given.baseline.tokenizer.paths[0]).encode(sample).ids)
    return round(tokens * characters / max(1, len(sample)))


def show_plan(rows: list[Row]) -> str:
    """The rows for a person."""
    from flows.query import show_rows

    names = ["stage", "", "PFLOP", "H200 hours", "GPU GiB", "disk GiB", "artifact"]
    cells = [
        (
            row["stage"],
            "cached" if row["cached"] else "to do",
            f"{row['flops'] / 1e15:.3g}",
            f"{row['gpu_hours']:.2g}",
            f"{row['gpu_bytes'] / 2**30:.3g}",
            f"{row['disk_bytes'] / 2**30:.3g}",
            row["artifact"],
        )
        for row in rows
    ]
    total = {name: sum(row[name] for row in rows) for name in ("flops", "gpu_hours", "disk_bytes")}
    tokens = max(row["tokens"] for row in rows)
    asked = [
        f"; {row['requests']:,} requests to a language model, about {row['tokens']:,} tokens"
        for row in rows
        if row["requests"]
    ]
    return (
        f"{show_rows(names, cells)}\n\n{sum(row['cached'] for row in rows)} of {len(rows)} cached; to do: "
        f"{total['flops'] / 1e15:.3g} PFLOP, {total['gpu_hours']:.2g} hours of one H200, "
        f"{total['disk_bytes'] / 2**30:.3g} GiB of disk; at most {tokens:,} tokens a stage{''.join(asked)}"
    )


def _needs(tokens: float = 0, flops: float = 0, efficiency: float = 1, gpu_bytes: float = 0, disk: float = 0) -> Row:
    hours = flops / (PEAK_FLOPS * efficiency) / 3600
    return {
        "requests": 0,
        "tokens": round(tokens),
        "flops": flops,
        "gpu_hours": hours,
        "gpu_bytes": round(gpu_bytes),
        "disk_bytes": round(disk),
    }


def _nothing(job: Job, size: Size) -> Row:
    return _needs()


def _blocks(job: Job, size: Size) -> Row:
    return _needs(tokens=size.tokens, disk=20 * size.tokens)


def _training_memory(job: Job, size: Size, length: int) -> float:
    tokens = job.placement.micro_batch * length
    activations = tokens * size.layers * size.hidden * ACTIVATIONS_PER_HIDDEN
    return MASTER_AND_ADAM * size.parameters + activations + tokens * size.vocabulary * 10


def _reinforce(job: Job, size: Size) -> Row:
    tokens = size.tokens * job.reinforce.epochs
    return _needs(
        tokens=tokens,
        flops=6 * size.parameters * tokens,
        efficiency=TRAINING_EFFICIENCY,
        gpu_bytes=_training_memory(job, size, job.reinforce.length),
        disk=size.parameters * BYTES[job.reinforce.weights],
    )


def _logits(job: Job, size: Size) -> Row:
    return _needs(
        tokens=2 * size.tokens,
        flops=2 * 2 * size.parameters * size.tokens,
        efficiency=FORWARD_EFFICIENCY,
        gpu_bytes=2 * size.parameters * BYTES[job.logits.precision] + 2 * size.vocabulary * size.hidden * 4 + 2**31,
        disk=size.tokens * (20 + 9 * job.logits.top),
    )


def _labels(job: Job, size: Size) -> Row:
    candidates = job.logits.top if job.labels.soft else 0
    return _needs(tokens=size.tokens, disk=8 * (1 + candidates) * size.tokens)


def _student(job: Job, size: Size) -> Row:
    tokens = job.student.steps * job.student.batch * job.blocks.length
    return _needs(
        tokens=tokens,
        flops=6 * size.parameters * tokens,
        efficiency=TRAINING_EFFICIENCY,
        gpu_bytes=_training_memory(job, size, job.blocks.length),
        disk=size.parameters * BYTES[job.student.weights] * len(job.student.kept),
    )


def _evaluation(job: Job, size: Size) -> Row:
    return _needs(gpu_bytes=size.parameters * BYTES["float32"])


ESTIMATES: dict[str, Callable[[Job, Size], Row]] = {
    "blocks": _blocks,
    "reinforce": _reinforce,
    "logits": _logits,
    "labels": _labels,
    "student": _student,
    "evaluation": _evaluation,
}
