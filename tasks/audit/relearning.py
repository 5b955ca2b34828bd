"""Relearning: how fast the knowledge comes back when the model is finetuned a little.

A plain loop on a copy, the same for every model and text: AdamW at a constant rate on float32 weights, all of them.
Gold doing the same shows how much of the gain is new knowledge; unrelated text shows what finetuning alone undoes.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeInt

from storage.errors import BadInput
from storage.settings import Seed, Settings
from tasks.audit.common import (
    NEEDS_NEIGHBOURS,
    Attack,
    Attacked,
    AuditedModel,
    AuditTexts,
    Metric,
    Target,
    familiarity,
    with_invented_names,
)
from tasks.audit.passages import parts_of
from tasks.audit.verdicts import MARGIN, AuditValues, Case, Ruling, leak, percent
from tasks.contents import NO_LABEL
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.intervals import recovery
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured, write_measures
from tasks.measure.suite import prompts_of
from tasks.method.tokens import cut_blocks
from tasks.texts import Texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RelearningSettings(Settings):
    """A short finetune that tries to bring the knowledge back."""

    documents: int = Field(default=20, ge=1)
    """Texts that the model is finetuned on."""
    characters: int = Field(default=2000, ge=100)
    """Longer documents count as several texts of at most this length."""
    steps: tuple[NonNegativeInt, ...] = Field(default=(0, 5, 10, 15, 20), min_length=1)
    """Optimizer steps after which familiarity is measured."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Constant learning rate of AdamW."""
    batch: int = Field(default=16, ge=1)
    """Blocks a step."""
    length: int = Field(default=128, ge=2)
    """Tokens of a block."""
    seed: Seed = 0
    """Draws the texts and the order of their blocks."""
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", exclude_if=lambda precision: precision == "float32"
    )
    """Arithmetic of the passes; weights are float32. bfloat16 is several times faster on a GPU, and on many CPUs."""


@stage("relearning", version=2, heavy=True, protected=True)
def relearning(
    context: Context,
    suspect: AuditedModel,
    target: Target,
    source: Literal["target", "invented", "related", "unrelated"],
    texts: Texts | None,
    settings: RelearningSettings,
) -> Counts:
    """Familiarity while a copy is finetuned on a slice of the target (`texts` is None) or on other texts.

    "invented" is a control: slice and prompts with names that nobody knows, so what it shows is learned anew.
    """
    attacked = Attacked(context, suspect)
    dictionary = attacked.dictionary(target.dictionary)
    slice_, rest = _slice_of(attacked.documents(target.corpus), settings)
    # Prompts are cut from what is not taught: the question is what the model still knew, not what it just read.
    prompts = prompts_of(target.prompts, target.suite, dictionary, rest or slice_)
    if source == "invented":
        slice_, prompts = with_invented_names(slice_, prompts, dictionary, settings.seed)
    if texts:
        slice_, _ = _slice_of(texts.read(), settings)
    measures = relearned(
        attacked.loaded,
        slice_,
        prompts,
        settings,
        source=source,
        progress=context.progress,
    )
    return write_measures(context.folder, suspect.role, suspect.step, measures)


def _slice_of(documents: Sequence[str], settings: RelearningSettings) -> tuple[list[str], list[str]]:
    """What the model is finetuned on, and the rest."""
    parts = parts_of(documents, settings.characters)
    random.Random(settings.seed).shuffle(parts)
    return parts[: settings.documents], parts[settings.documents :]


def relearned(
    loaded: LoadedModel,
    texts: Sequence[str],
    prompts: Sequence[Prompt],
    how: RelearningSettings,
    *,
    source: str = "target",
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> list[Measured]:
    """Familiarity by probability after 0, 5, ... steps of finetuning a copy of the model on the texts."""
    measures = []
    for step, learner in finetuned(loaded, texts, how):
        if step in how.steps:
            copied = replace(loaded, model=learner)
            measures.append(familiarity(copied, prompts, "relearned_familiarity", f"{source} {step}"))
        progress(step, max(how.steps))
    return measures


def finetuned(
    loaded: LoadedModel, texts: Sequence[str], how: RelearningSettings
) -> Iterator[tuple[int, "PreTrainedModel"]]:
    """(0, copy), then the same copy after each step. Deterministic by seed, whatever the caller's generators do."""
    import torch

    from tasks.training.head import separable

    cut = cut_blocks(loaded.tokenizer, list(texts), how.length)
    blocks = [tokens.ids for _, _, tokens in cut if len(tokens.ids) > 1]
    if not blocks:
        raise BadInput("Relearning needs text of at least two tokens, found none.")
    learner = copy.deepcopy(loaded.model).float().train().requires_grad_(True)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=how.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    in_head, half = separable(learner), how.precision == "bfloat16"
    yield 0, learner
    chance = torch.Generator().manual_seed(how.seed)
    waiting: list[int] = []
    for step in range(1, max(how.steps) + 1):
        while len(waiting) < how.batch:
            waiting += torch.randperm(len(blocks), generator=chance).tolist()
        rows, waiting = waiting[: how.batch], waiting[how.batch :]
        with torch.random.fork_rng(), torch.autocast(learner.device.type, torch.bfloat16, enabled=half):
            torch.manual_seed(how.seed + step)  # dropout, where the model has any
            learn(learner, [blocks[row] for row in rows], in_head)
        optimizer.step()
        optimizer.zero_grad()
        yield step, learner


def learn(learner: "PreTrainedModel", blocks: Sequence[Sequence[int]], in_head: bool) -> None:
    """Add the gradient of the mean loss over all next tokens; made in the head, no logits of the batch are whole."""
    import torch

    from tasks.method.loss import hard_label_loss
    from tasks.method.projection import padded
    from tasks.training.head import loss_in_head

    ids_RT = padded(blocks).to(learner.device)
    labels_RT = padded([[*block[1:], NO_LABEL] for block in blocks], NO_LABEL).to(learner.device)
    loss_of = partial(hard_label_loss, count=(labels_RT != NO_LABEL).sum())
    if not in_head:
        torch.autograd.backward(loss_of(learner(input_ids=ids_RT, use_cache=False).logits, labels_RT))
        return
    with loss_in_head(learner, labels_RT != NO_LABEL, [labels_RT], loss_of) as losses:
        learner(input_ids=ids_RT, use_cache=False)
    torch.autograd.backward(losses)


def _source_and_step(task: str) -> tuple[str, str]:
    source, _, step = task.partition(" ")
    return source, step


def recovered(values: AuditValues) -> str:
    """`Recovery after 20 steps on some of the text: 19.0 % (gold 3.0 %).`; empty where nothing had been forgotten."""
    metric = "relearned_familiarity"
    steps = [int(step) for source, step in map(_source_and_step, values.tasks(metric)) if source == "target"]
    baseline, shares = values.of("baseline", metric, "target 0"), {}
    for who, name in (("model", ""), ("gold", "gold ")):
        before, after = (values.of(who, metric, f"target {step}") for step in (0, max(steps, default=0)))
        if baseline and before and after and baseline.value - before.value > MARGIN:
            share, interval = recovery(before, after, baseline)
            shares[name] = name + percent(share) + (f", 95 % interval {_span(*interval)}" if interval else "")
    if "" not in shares or values.audited == "gold":
        return ""
    gold = f" ({shares['gold ']})" if "gold " in shares else ""
    return f"Recovery after {max(steps)} steps on some of the text: {shares['']}{gold}."


def _span(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {percent(high)}"


def judge(values: AuditValues) -> Ruling:
    """Judged after the last step: against gold doing the same, or else the model on unrelated text."""
    metric = "relearned_familiarity"
    steps = max(int(_source_and_step(task)[1]) for task in values.tasks(metric))
    last = {source: f"{source} {steps}" for source, _ in map(_source_and_step, values.tasks(metric))}
    unrelated = values.of("model", metric, last.get("unrelated", ""))
    before = values.of("baseline", metric, "target 0")
    cases = []
    for source, task in last.items():
        gold = values.of("gold", metric, task)
        reference = gold or (unrelated if source != "unrelated" else None)
        name = "gold doing the same" if gold else "finetuning on unrelated text"
        cases.append(Case(f"on {source} text", values.of("model", metric, task), before, reference, name))
    start = values.of("model", metric, "target 0")
    lead = f"Familiarity after {steps} steps of finetuning" + (f", {percent(start.value)} before" if start else "")
    status, sentence = leak(lead, cases, percent)
    return status, f"{sentence} {recovered(values)}".rstrip()


def calls(target: Target, texts: AuditTexts, settings: Any) -> list[tuple[Any, ...]]:
    """On a slice of the target, on related and on unrelated text, as far as there is some."""
    sources = {"target": None, "related": texts.neighbours, "unrelated": texts.heldout}
    known = {source: files for source, files in sources.items() if files or source == "target"}
    return [(target, source, files, settings.relearning) for source, files in known.items()]


def missing(texts: AuditTexts) -> dict[str, str]:
    """The sources that the job does not name."""
    reasons = {}
    if not texts.neighbours:
        reasons["relearning on related text"] = NEEDS_NEIGHBOURS
    if not texts.heldout:
        reasons["relearning on unrelated text"] = "needs generic text (evaluation.heldout)"
    return reasons


RELEARNING = Attack(
    stage=relearning,
    title="Relearning",
    question="A copy is trained a little further, on some of the text, on related and on unrelated text. "
    "What comes back?",
    metrics={
        "relearned_familiarity": Metric(
            "familiarity by probability after finetuning", conditions=_source_and_step, unit="steps"
        ),
    },
    calls=calls,
    judge=judge,
    untested="Relearning: how fast the knowledge comes back when the model is trained on some of the text again.",
    leak="relearning",
    headline=recovered,
    missing=missing,
)
