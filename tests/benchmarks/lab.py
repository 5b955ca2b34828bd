"""A job's models, blocks and texts in memory, for benchmarks that train many small students and measure each.

Stages and the Trainer cost more than such a training itself. Labels, blocks, losses and measures are nepenthe's own, on
the prompts, slices and texts of its evaluation and audit.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from oz import HELDOUT_STORIES, LEARNED_STORIES, MATERIAL, stories

from dictionaries.dictionary import Dictionary
from flows.demo import job_for
from flows.inputs import resolve
from flows.job import Job, read_job
from flows.unlearn import make_labels, make_target, reinforced_model
from storage.opening import open_workspace
from storage.shards import read_shard
from tasks.audit.passages import parts_of
from tasks.audit.relearning import relearned as attack
from tasks.contents import MODEL, NO_LABEL, TRAINING, dictionary_of, documents_of
from tasks.engine.console import Progress
from tasks.engine.runner import Direct
from tasks.labels import labels
from tasks.measure.benchmarks import by_benchmarks
from tasks.measure.familiarity import by_completion, by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured
from tasks.measure.scoring import encode, token_log_probabilities
from tasks.measure.suite import prompts_of
from tasks.method.loss import hard_label_loss, hardening_of, moved, soft_label_loss
from tasks.models import load_model, load_tokenizer
from tasks.texts import read_texts
from tasks.texts.records import normalise
from tasks.training.examples import COLUMNS, collate, order_of, unshifted

ROWS = 32  # of a measurement at a time
HALVINGS = 5  # of the share that a mixed model has of the student
NEIGHBOUR_CHARACTERS = 2000  # of a part of the novel
OZ = ("blocks.length=128", "logits.equation=log_probabilities")
"""What the job on Oz takes over from the demo's: in short blocks more anchors stand first, where they train."""

Blocks = list[dict[str, np.ndarray]]
"""Token ids and labels of each block, with candidates and shares where labels are soft."""
Batch = dict[str, torch.Tensor]
"""Some of them, padded, as tasks.training.examples.collate makes it."""
Loss = Callable[[Any, Batch, Batch], torch.Tensor]
"""The loss of a student on a batch of the target and one of generic text."""


@dataclass(frozen=True)
class Lab:
    """One world."""

    job: Job
    baseline: Any
    reinforced: Any
    gold: Any
    tokenizer: Any
    words: Dictionary
    documents: list[str]
    """The target."""
    target: Blocks
    """The target, labelled with its own next tokens."""
    hard: Blocks
    """The same blocks with the paper's labels."""
    soft: Blocks
    """The same blocks with v_generic as a distribution."""
    generic: Blocks
    """Text that the baseline has read as well, labelled with its own next tokens."""
    prompts: list[Prompt]
    heldout: list[str]
    neighbours: list[str]
    benchmarks: list[Path]
    translations: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    """Translated blocks, by the labels of their own."""


def demo_lab(root: Path) -> Lab:
    """The demo's job in a workspace where `nepenthe demo` has run; its generic stories are there to retain."""
    workspace = open_workspace(root)
    made = {one.kind: workspace.path(one) for one in workspace.all() if one.kind == "world"}
    models = {
        workspace.record(one)["inputs"]["role"]: workspace.path(one) / MODEL
        for one in workspace.all()
        if one.kind == "pretrain"
    }
    job = job_for(made["world"], models["baseline"], models["gold"])
    return open_lab(root, job, read_lines(made["world"] / "generic.jsonl"))


def oz_lab(root: Path) -> Lab:
    """The job of oz.py in its workspace; the stories that the injection has read are there to retain.

    The neighbour, a novel for children that no model has read, shows what perplexity on more such stories cannot.
    """
    texts = stories()[HELDOUT_STORIES:][:LEARNED_STORIES]
    neighbour = (MATERIAL / "books" / "alice_in_wonderland.txt").read_text(encoding="utf-8")
    lab = open_lab(root, read_job(root / "job.toml", list(OZ)), texts)
    return replace(lab, neighbours=parts_of([normalise(neighbour)], NEIGHBOUR_CHARACTERS))


def read_lines(path: Path) -> list[str]:
    """The texts of a jsonl file."""
    return [json.loads(line)["text"] for line in path.open(encoding="utf-8")]


def open_lab(root: Path, job: Job, generic: Sequence[str]) -> Lab:
    """The lab of a job; what its workspace lacks is made. `generic` are texts to retain."""
    run = Direct(open_workspace(root), job.name, job.placement, Progress(12))
    given = resolve(job, run.workspace.hashes)
    target = make_target(job, given, run)
    pieces, curves, hard = make_labels(job, given, target, run)
    soft = run(labels, pieces, curves, job.labels.model_copy(update={"soft": 1.0}))
    tokenizer, dictionary = (
        load_tokenizer(given.baseline.tokenizer),
        dictionary_of(run.workspace.path(target.dictionary)),
    )
    texts = documents_of(run.workspace.path(target.corpus))
    lessons = [read_blocks(run.workspace.path(made) / TRAINING) for made in (hard, soft)]
    evidence = given.evidence
    assert given.gold
    assert evidence.heldout
    assert evidence.benchmarks
    files = [Path(path) for path in evidence.benchmarks.paths]
    return Lab(
        job=job,
        baseline=load_model(given.baseline.path),
        reinforced=load_model(reinforced_model(job, given, target, run).path),
        gold=load_model(given.gold.path),
        tokenizer=tokenizer,
        words=dictionary,
        documents=texts,
        target=[own_labels(block["input_ids"]) for block in lessons[0]],
        hard=lessons[0],
        soft=lessons[1],
        generic=blocks_of(tokenizer, generic, job.blocks.length),
        prompts=prompts_of(evidence.prompts, job.evaluation.suite, dictionary, texts),
        heldout=list(read_texts(evidence.heldout, evidence.text_column)),
        neighbours=[normalise(text) for path in job.audit.neighbours for text in read_lines(Path(path))],
        benchmarks=[path for path in files if path.suffix == ".yaml"] or files,
    )


def read_blocks(path: Path) -> Blocks:
    """The rows of a file that a student trains on."""
    table = read_shard(path)
    columns = {name: table.column(name) for name in COLUMNS if name in table.column_names}
    return [{name: c[row].values.to_numpy() for name, c in columns.items()} for row in range(len(table))]


def own_labels(ids: Any) -> dict[str, np.ndarray]:
    """A block labelled with its own next tokens."""
    return {"input_ids": np.asarray(ids), "labels": np.append(ids[1:], NO_LABEL)}


def blocks_of(tokenizer: Any, texts: Sequence[str], length: int) -> Blocks:
    """The texts in blocks, labelled with their own next tokens."""
    cut = [text.ids[at : at + length] for text in encode(tokenizer, texts) for at in range(0, len(text.ids), length)]
    return [own_labels(ids) for ids in cut if len(ids) > 1]


# ------------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Course:
    """How a student is trained; the optimizer and the rest are those of the student stage."""

    learning_rate: float
    steps: int
    target: int
    """Blocks of the target a step."""
    generic: int = 0
    """Blocks of generic text a step."""
    schedule: str = "linear"
    weight_decay: float = 0.0
    hardening: float = 0.0
    """Times what reinforcement changed, as in the student stage."""
    seed: int = 0
    frozen: Callable[[str], bool] = lambda name: False
    """Which parameters stay, by name."""


def students(lab: Lab, blocks: Blocks, loss: Loss, course: Course, keep: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """(step, model) for every step to keep. It is the same model that goes on: measure it before the next."""
    student = copy.deepcopy(lab.baseline).train()
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(not course.frozen(name))
    learned = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, course.learning_rate, (0.9, 0.98), weight_decay=course.weight_decay)
    change = list(hardening_of(student, lab.reinforced, course.hardening)) if course.hardening else []
    batches = batches_of(blocks, course.target, course.steps, course.seed)
    others = batches_of(lab.generic, course.generic, course.steps, course.seed + 1)
    for step, (batch, other) in enumerate(zip(batches, others, strict=True)):
        rate = 1 - step / course.steps if course.schedule == "linear" else 1.0
        optimizer.param_groups[0]["lr"] = course.learning_rate * rate
        loss(student, batch, other).backward()  # type: ignore[no-untyped-call]
        if change:
            with moved(change):
                loss(student, batch, other).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step + 1 in keep:
            yield step + 1, student


def batches_of(blocks: Blocks, size: int, steps: int, seed: int) -> Iterator[Batch]:
    """A batch for every step, in the order in which the student stage reads; empty ones where size is 0."""
    order: Any = order_of(len(blocks), size * steps, seed) if size else []
    for step in range(steps):
        yield collate([blocks[row] for row in order[step * size : (step + 1) * size]]) if size else {}


def logits_of(model: Any, batch: Batch) -> torch.Tensor:
    """Rows of logits (R, T, V) in float32; the passes are in bfloat16, as in the student stage."""
    with torch.autocast("cpu", torch.bfloat16):
        logits_RTV: torch.Tensor = model(input_ids=batch["input_ids"], use_cache=False).logits
    return logits_RTV.float()


def labels_in(batch: Batch) -> torch.Tensor:
    """How many labels there are."""
    return (batch["labels"] != NO_LABEL).sum()


def nats(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the labels of all blocks, hard or soft."""
    logits, count = logits_of(model, batch), labels_in(batch)
    if "shares" in batch:
        return soft_label_loss(logits, batch["candidates"], batch["shares"], count)
    return hard_label_loss(logits, unshifted(batch["labels"]), count)


def nats_of_both(model: Any, batch: Batch, other: Batch) -> torch.Tensor:
    """The mean over the labels of two batches together, as the student stage takes it where text is retained."""
    if not other:
        return nats(model, batch)
    first, second = labels_in(batch), labels_in(other)
    mean: torch.Tensor = (nats(model, batch) * first + nats(model, other) * second) / (first + second)
    return mean


# ------------------------------------------------------------------------------------------------------- measures


def quick(lab: Lab, model: Any) -> dict[str, float]:
    """Familiarity by probability and perplexity: what the choice is made by."""
    familiar = by_probability(LoadedModel(model, lab.tokenizer, ROWS), [replace(p, generic=()) for p in lab.prompts])
    return {"familiarity": familiar.value, "perplexity": cost(lab, model)}


def cost(lab: Lab, model: Any) -> float:
    """Perplexity of held-out text."""
    suite = lab.job.evaluation.suite
    return perplexity(LoadedModel(model, lab.tokenizer, ROWS), lab.heldout, suite.window, suite.windows).value


@torch.no_grad()
def mixed(baseline: Any, student: Any, share: float) -> Any:
    """(1 - share) of the baseline's weights and share of the student's."""
    mixture = copy.deepcopy(student)
    for weights, others in zip(mixture.parameters(), baseline.parameters(), strict=True):
        weights.lerp_(others, 1 - share)
    return mixture


def at_equal_ability(baseline: Any, student: Any, costs: Callable[[Any], float], limit: float) -> tuple[Any, float]:
    """The most of the student, mixed with the baseline, that costs no more than the limit; and how much that is."""
    if costs(student) <= limit:
        return student, 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        low, high = (share, high) if costs(mixed(baseline, student, share)) <= limit else (low, share)
    return mixed(baseline, student, low), low


def relearned(lab: Lab, model: Any, **how: Any) -> list[float]:
    """Familiarity after 0, 5, 10, 15, 20 steps on 20 documents of the target, as in the audit."""
    settings = lab.job.audit.relearning.model_copy(update=how)
    parts = parts_of(lab.documents, settings.characters)
    random.Random(settings.seed).shuffle(parts)
    taught, rest = parts[: settings.documents], parts[settings.documents :]
    evidence = lab.job.evaluation
    prompts = lab.prompts if evidence.prompts else prompts_of(None, evidence.suite, lab.words, rest)
    measures = attack(LoadedModel(model, lab.tokenizer, ROWS), taught, prompts, settings)
    return [measured.value for measured in measures]


def thorough(lab: Lab, model: Any) -> dict[str, Any]:
    """What is measured of a chosen student: completion, neighbours, multiple choice, relearning, and whether what it
    says about the target is still language: gold's perplexity of its completions."""
    suite = lab.job.evaluation.suite
    said = by_completion(LoadedModel(model, lab.tokenizer, ROWS), lab.prompts, lab.words, new_tokens=suite.new_tokens)
    found: dict[str, Any] = {"completion": said.value, "sense": sense(lab, said)}
    if lab.neighbours:
        found["neighbours"] = perplexity(LoadedModel(model, lab.tokenizer, ROWS), lab.neighbours).value
    asked = by_benchmarks(LoadedModel(model, lab.tokenizer), lab.benchmarks, limit=suite.questions, seed=suite.seed)
    found["accuracy"] = sum(measured.value for measured in asked) / len(asked)
    return found | {"relearned": relearned(lab, model)}


def sense(lab: Lab, said: Measured) -> float:
    """Gold's perplexity of completions: high for what nobody who has not read the target would ever say."""
    prompts = encode(lab.tokenizer, [item.prompt for item in said.items])
    wholes = encode(lab.tokenizer, [item.prompt + item.completion for item in said.items])
    gold = LoadedModel(lab.gold, lab.tokenizer, ROWS)
    scored = token_log_probabilities(gold, [text.ids for text in wholes])
    after = [row[len(prompt.ids) - 1 :] for row, prompt in zip(scored, prompts, strict=True)]
    return float((-torch.cat(after).mean()).exp())
