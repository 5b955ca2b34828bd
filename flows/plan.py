"""What a job will cost, before it runs: time, tokens, FLOPs, memory, disk (METHOD.md 7).

Sizes are estimates: 2 FLOPs a parameter and token forward, 6 in training. Times are these at a card's speed: this
machine's as it was measured (`flows/speed.py`), or that of a datasheet's card, which nobody measured. Where the
trainings take several devices, their hours are those on all of them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.fleet import H200, Card, Size, fleet_for, kept_bytes, settings_of, training_bytes
from flows.inputs import Inputs
from flows.job import Job
from storage.files import Files
from storage.workspace import Workspace
from tasks.answers import asked_about
from tasks.elicit import REQUESTS
from tasks.engine.runner import Plan
from tasks.llm.asking import tokens_for
from tasks.llm.store import answered_before, question_of
from tasks.measure.suite import Suite
from tasks.models import Model, config_of, divides, half_step_of_bfloat16, parameters_of, vocabulary_size
from tasks.texts import ElicitSettings, read_texts
from tasks.texts.records import normalise
from tasks.training.settings import GoldSettings, ReinforceSettings, StudentSettings, Training, steps_of_epochs

MEASURED = {260e3: (3e-4, 4e-3), 1e6: (1e-4, 3e-3), 134.5e6: (5e-5, 1.5e-3), 270e6: (1e-4, 1e-4), 6.7e9: (1e-6, 1e-6)}
"""Learning rates of the student by parameters for which there are figures: docs/LOG.md; the last is the paper's own."""
SAMPLE_CHARACTERS = 200_000
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CHARACTERS_A_TOKEN = 4
QUESTIONS, CHOICES, QUESTION_TOKENS = 1000, 4, 80  # of a benchmark that nobody counted

Row = dict[str, Any]
Leg = tuple[int, int | None]
"""The steps of a student that is taught from pause to pause: done before, and the step at which it pauses."""


def cost(plan: Plan, job: Job, inputs: Inputs, card: Card = H200) -> list[Row]:
    """A row for each artifact: stage, cached or not, and what making it will take (zeros where it is cached).

    One more, `optional`, is the control of `nepenthe gold` where there is text for one and none is named.
    """
    size, where = size_of(job, inputs), {"device": card.name, "memory_bytes": round(card.memory)}
    pauses: dict[str, int] = {step.artifact.fingerprint: step.inputs.get("until") or 0 for step in plan.steps}
    rows = []
    for step in plan.steps:
        kind, before = step.stage.kind, step.inputs.get("before")
        leg = (pauses[before.fingerprint] if before else 0, step.inputs.get("until"))
        estimate = getattr(Estimates(job, size, card, leg), kind, _needs)
        needs = _needs() if step.cached else estimate()
        if kind == "answers" and not step.cached:
            needs |= asking(job, inputs, plan.workspace)
        if kind == "student" and inputs.earlier:
            needs["told"] = f"{needs['told']}\n{going_on(inputs)}".strip()
        starts = step.stage.heavy and not step.cached and job.placement.isolation == "process"
        needs |= {"seconds": 3600 * needs["hours"] + card.start * starts, "optional": False}
        rows.append({"stage": kind, "artifact": step.artifact.folder, "cached": step.cached} | needs | where)
    if inputs.retain and not inputs.gold:
        needs = Estimates(job, size, card).gold()
        needs |= {"seconds": 3600 * needs["hours"] + card.start, "optional": True}
        rows.append({"stage": "gold", "artifact": "nepenthe gold", "cached": False} | needs | where)
    return rows


def going_on(inputs: Inputs) -> str:
    """What a job with `after` starts from, and what stays in force."""
    requests = ", ".join(request.job for request in inputs.earlier)
    return f"Goes on from {inputs.baseline.fingerprint}; stays in force, and is judged again: {requests}."


def asking(job: Job, inputs: Inputs, workspace: Workspace) -> Row:
    """Requests to the language model, faults aside, and the tokens they take. What was answered before is free, what
    the baseline is yet to be asked for is not known."""
    settings = job.dictionary.llm
    texts = dict.fromkeys(normalise(text) for text in read_texts(inputs.corpus, job.corpus.text_column))
    passages = asked_about((text for text in texts if text.strip()), settings)
    asked = {question_of(passage, settings): len(passage.text) for passage in passages}
    known = answered_before(workspace, asked)
    costs = [tokens_for(characters) for question, characters in asked.items() if question not in known]
    return {"requests": len(costs), "tokens": sum(costs)}


def size_of(job: Job, inputs: Inputs) -> Size:
    """Parameters from the weights' headers; tokens from a sample of the corpus and of what the model is asked for."""
    config, model = config_of(inputs.baseline.path), inputs.baseline
    return Size(
        parameters=parameters_of(model.path),
        vocabulary=vocabulary_size(model),
        hidden=config.get("hidden_size") or 0,
        layers=config.get("num_hidden_layers") or 0,
        tokens=tokens_of(inputs.corpus, job.corpus.text_column, model) + elicited_tokens(job.corpus.elicit),
        evaluated=evaluated_tokens(job.evaluation.suite, inputs),
        retained=tokens_of(inputs.retain, job.retain.text_column, model) if inputs.retain else 0,
        path=model.path,
        half_step=half_step_of_bfloat16(model.path),
    )


def elicited_tokens(settings: ElicitSettings) -> int:
    """Tokens that a model is asked for about a subject, where none of its answers ends early."""
    names = max(1, len(settings.names)) + (settings.rounds - 1) * settings.growth
    return names * len(REQUESTS) * settings.times * settings.tokens if settings.subject else 0


def evaluated_tokens(suite: Suite, inputs: Inputs) -> int:
    """Tokens that an evaluation reads, roughly: prompts twice, held-out text, four answers to each question."""
    evidence = inputs.evidence
    files = [evidence.heldout, *evidence.kinds.values()] if evidence.heldout else []
    sizes = [sum(Path(path).stat().st_size for path in kind.paths) for kind in files]
    tasks = len(evidence.tasks) + (len(evidence.benchmarks.paths) if evidence.benchmarks else 0)
    windows = (suite.windows * suite.window) if suite.windows and suite.window else math.inf
    prompts = 2 * suite.prompts * suite.context_characters // CHARACTERS_A_TOKEN
    questions = tasks * (suite.questions or QUESTIONS) * CHOICES * QUESTION_TOKENS
    return round(prompts + sum(min(size / CHARACTERS_A_TOKEN, windows) for size in sizes) + questions)


def tokens_of(files: Files | None, text_column: str, model: Model) -> int:
    """Tokens of the texts of files, from their length and a sample of their beginning."""
    from tokenizers import Tokenizer

    sample, characters = "", 0
    for text in read_texts(files, text_column):
        characters += len(text)
        sample += text[: max(0, SAMPLE_CHARACTERS - len(sample))]
    tokens = len(Tokenizer.from_file(model.tokenizer.paths[0]).encode(sample).ids)
    return round(tokens * characters / max(1, len(sample)))


def _needs(tokens: float = 0, flops: float = 0, rate: float = 1, gpu_bytes: float = 0, disk: float = 0) -> Row:
    """`rate` is in FLOP/s."""
    hours = flops / rate / 3600
    return {
        "requests": 0,
        "tokens": round(tokens),
        "flops": flops,
        "gpu_hours": hours,
        "hours": hours,
        "gpus": 1 if gpu_bytes else 0,
        "gpu_bytes": round(gpu_bytes),
        "fits": True,
        "disk_bytes": round(disk),
        "told": "",
    }


@dataclass(frozen=True)
class Estimates:
    """What making an artifact will take, by its kind: a method each; other kinds take next to nothing."""

    job: Job
    size: Size
    card: Card
    leg: Leg = (0, None)

    def blocks(self) -> Row:
        return _needs(tokens=self.size.tokens, disk=20 * self.size.tokens)

    def elicit(self) -> Row:
        tokens = elicited_tokens(self.job.corpus.elicit)
        flops, held = 2 * self.size.parameters * tokens, self.size.parameters * BYTES["float32"]
        return self._whole("elicit", _needs(tokens, flops, self.card.generation, held, CHARACTERS_A_TOKEN * tokens))

    def reinforce(self) -> Row:
        return self._passes(self.job.reinforce, self.job.reinforce.length, self.size.tokens)

    def gold(self) -> Row:
        return self._passes(self.job.control, self.job.blocks.length, self.size.retained)

    def retained_labels(self) -> Row:
        """A pass of the baseline over the text to retain."""
        tokens = self.size.retained
        return self._pass("retained_labels", 1, tokens, 8 * (2 + self.job.logits.top) * tokens)

    def logits(self) -> Row:
        return self._pass("logits", 2, self.size.tokens, self.size.tokens * (20 + 9 * self.job.logits.top))

    def labels(self) -> Row:
        candidates = self.job.logits.top if self.job.labels.soft else 0
        return _needs(tokens=self.size.tokens, disk=8 * (1 + candidates) * self.size.tokens)

    def student(self) -> Row:
        """A pause before the last step leaves a checkpoint."""
        settings, size, length = self.job.student, self.size, self.job.blocks.length
        first, last = self.leg[0], self.leg[1] or settings.steps
        kept = sum(first < step <= last for step in settings.kept)
        checkpoint = kept_bytes(settings) * (last < settings.steps)
        disk = size.parameters * (BYTES[settings.weights] * kept + checkpoint)
        row = self._training(settings, length, (last - first) * settings.batch * length, disk)
        times = 2 if settings.hardening else 1  # each batch is learned at two places
        warnings = "\n".join(filter(None, (row["told"], lost_in_bfloat16(settings, size), unmeasured(settings, size))))
        return row | {name: times * row[name] for name in ("flops", "gpu_hours", "hours")} | {"told": warnings}

    def evaluation(self) -> Row:
        """What it reads goes through at once; what it says comes a token at a time."""
        suite, read, parameters = self.job.evaluation.suite, self.size.evaluated, self.size.parameters
        said = suite.prompts * suite.new_tokens
        reading, saying = (2 * parameters * tokens for tokens in (read, said))
        seconds = reading / self.card.forward + saying / self.card.generation
        flops, held = reading + saying, parameters * self._bytes_of(self.job.evaluation.precision)
        return self._whole("evaluation", _needs(read + said, flops, flops / max(seconds, 1e-9), held))

    def _passes(self, settings: ReinforceSettings | GoldSettings, length: int, tokens: int) -> Row:
        """A training that goes over so many tokens, in blocks of a length, as often as its settings say."""
        blocks = max(1, math.ceil(tokens / length))
        drawn = steps_of_epochs(blocks, settings.epochs, settings.batch) * settings.batch
        return self._training(settings, length, drawn * tokens / blocks, self.size.parameters * BYTES[settings.weights])

    def _training(self, settings: Training, length: int, tokens: float, disk: float) -> Row:
        """A training on so many tokens, in blocks of a length, on the job's own devices, or on as many as it takes."""
        size, card, own = self.size, self.card, self.job.placement
        fitting = fleet_for(self.job, size, card)
        fleet = fitting or own
        needs = _needs(
            tokens=tokens,
            flops=(6 + 2 * fleet.recompute - 2 * bool(settings.lora)) * size.parameters * tokens,
            rate=card.training,
            gpu_bytes=training_bytes(fleet, settings, length, size),
            disk=disk,
        )
        devices = f"{fleet.world} GPU{'s' * (fleet.world > 1)}" if card.is_gpu else "this machine"
        told = "" if fitting == own else f"The trainings fit {devices}: {settings_of(fleet)}."
        if fitting is None:
            told = f"The trainings find no room on {_devices_tried(card)}, each with {_room(card)}."
        hours = needs["gpu_hours"] / fleet.world
        return needs | {"gpus": fleet.world, "hours": hours, "told": told, "fits": bool(fitting)}

    def _pass(self, stage: str, models: int, tokens: int, disk: float) -> Row:
        """So many models read the same tokens, with the rows of their vocabulary."""
        size = self.size
        each = size.parameters * self._bytes_of(self.job.logits.precision) + size.vocabulary * size.hidden * 4
        flops, held = 2 * models * size.parameters * tokens, models * each + 2**31
        return self._whole(stage, _needs(models * tokens, flops, self.card.forward, held, disk))

    def _bytes_of(self, precision: str) -> int:
        """Bytes of a number; what is chosen by device is bfloat16 on a GPU."""
        return BYTES.get(precision, 2 if self.card.is_gpu else 4)

    def _whole(self, stage: str, needs: Row) -> Row:
        """A stage that only reads its models: whole, or divided over one machine's ranks where the trainings' are
        sharded; with a word where they do not fit."""
        fleet = fleet_for(self.job, self.size, self.card) or self.job.placement
        ranks = fleet.ranks if fleet.sharded and divides(self.size.path, fleet.ranks) else 1
        needs |= {"gpus": ranks, "gpu_bytes": round(needs["gpu_bytes"] / ranks), "hours": needs["hours"] / ranks}
        if needs["gpu_bytes"] <= self.card.room:
            return needs
        where = f"on {ranks} GPUs, each" if ranks > 1 else "on one GPU" if self.card.is_gpu else "in memory"
        needed = f"{where}, {needs['gpu_bytes'] / 2**30:.3g} GiB: more than {_room(self.card)}"
        return needs | {
            "told": f"{stage} holds {'shares of' if ranks > 1 else 'whole'} models {needed}.",
            "fits": False,
        }


def _devices_tried(card: Card) -> str:
    if card.number is None:
        return "any number of GPUs that divides their batches"
    return f"up to {card.number} of this machine's devices, with any placement.micro_batch"


def _room(card: Card) -> str:
    return f"{card.room / 2**30:.3g} GiB, the usable part of {card.memory / 2**30:.3g} ({card.name})"


def lost_in_bfloat16(settings: StudentSettings, size: Size) -> str:
    """A sentence where nearest rounding would take most weights of a bfloat16 model back; empty elsewhere.

    Adam moves a weight by about the learning rate a step, at most.
    """
    reach = settings.learning_rate * settings.steps * (1.0 if settings.schedule == "constant" else 0.5)
    if reach >= size.half_step:
        return ""
    return (
        f"All steps together move a weight by at most {reach:.1e} (student.learning_rate, steps and schedule), half a "
        f"step of bfloat16 at the median weight of this bfloat16 model is {size.half_step:.1e}: rounded to the "
        "nearest, most of what is learned is lost. Export float32 or by `nepenthe export --dtype bfloat16`, which "
        "rounds stochastically, keep student.weights float32, or take a larger rate."
    )


def unmeasured(settings: StudentSettings, size: Size) -> str:
    """A sentence where nobody has measured such a learning rate on a model of about this size; empty elsewhere."""
    near = [rates for parameters, rates in MEASURED.items() if 0.5 <= size.parameters / parameters <= 2]
    if any(low <= settings.learning_rate <= high for low, high in near):
        return ""
    known = ", ".join(f"{low:g} to {high:g}" for low, high in near) or "no rate"
    return (
        f"student.learning_rate {settings.learning_rate:g} was never measured on a model of about "
        f"{size.parameters / 1e6:,.3g} M parameters ({known} was, docs/METHOD.md 4): `nepenthe tune` tries some."
    )
