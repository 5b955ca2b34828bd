"""audit: what an adversary gets back from a model that claims to have forgotten. One stage, so one artifact, an attack.

The same passages, questions and prompts for every model, drawn by seed, so that models can be compared item by item.
The names of the measures are in tasks/measure/metrics.py, what they mean for a model in tasks/measure/verdicts.py.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from dictionaries.matching import Matcher
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files
from storage.settings import Settings
from tasks.audit_settings import PassageSettings, QuantisationSettings, QuestionSettings, RelearningSettings
from tasks.contents import dictionary_of, documents_of
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.rows import write_measures
from tasks.measure.suite import Suite, prompts_of
from tasks.models import Model, load_model, load_tokenizer, pick_device
from tasks.texts import Texts

if TYPE_CHECKING:
    from tasks.measure.passages import Passage
    from tasks.measure.prompts import Prompt
    from tasks.measure.rows import Measured


class AuditedModel(Settings):
    """A model under attack, and its role in the tables."""

    model: Model
    role: str
    step: int | None = None


class Target(Settings):
    """What prompts about the target are made of."""

    corpus: Artifact
    dictionary: Artifact
    prompts: Files | None
    suite: Suite


@stage("verbatim", version=1, heavy=True, protected=True)
def verbatim(
    context: Context, suspect: AuditedModel, corpus: Artifact, control: Texts | None, settings: PassageSettings
) -> Counts:
    """Verbatim continuation of target passages, and of control passages where there are some."""
    from tasks.measure.verbatim import verbatim as attack

    model, tokenizer = _load(context, suspect)
    new, batch = settings.tokens - settings.given, context.placement.micro_batch
    passages = _target_and_control(context, tokenizer, corpus, control, settings)
    found = (
        measured
        for task, chosen in passages
        for measured in attack(model, tokenizer, chosen, new_tokens=new, task=task, batch_size=batch)
    )
    return _write(context, suspect, found, 4 if control else 2)


@stage("extraction", version=1, heavy=True, protected=True)
def extraction(
    context: Context, suspect: AuditedModel, corpus: Artifact, control: Texts | None, settings: PassageSettings
) -> Counts:
    """Extraction strength of target passages, and of control passages where there are some."""
    from tasks.measure.extraction import extraction_strength

    model, tokenizer = _load(context, suspect)
    batch = context.placement.micro_batch
    passages = _target_and_control(context, tokenizer, corpus, control, settings)
    found = (
        extraction_strength(model, tokenizer, [one.text for one in chosen], task=task, batch_size=batch)
        for task, chosen in passages
    )
    return _write(context, suspect, found, 2 if control else 1)


@stage("questions", version=1, heavy=True, protected=True)
def questions(
    context: Context, suspect: AuditedModel, corpus: Artifact, dictionary: Artifact, settings: QuestionSettings
) -> Counts:
    """Cloze questions about the target, without and with hints."""
    from tasks.measure.questions import answered, chance_of, cloze_questions

    model, tokenizer = _load(context, suspect)
    documents, words = documents_of(context.path(corpus)), dictionary_of(context.path(dictionary))
    asked = cloze_questions(
        documents, words, settings.count, choices=settings.choices, hints=settings.hints, seed=settings.seed
    )
    batch = context.placement.micro_batch
    found = (answered(model, tokenizer, asked, hints=hints, batch_size=batch) for hints in (False, True))
    return _write(context, suspect, [chance_of(asked), *found], 3)


@stage("membership", version=1, heavy=True, protected=True)
def membership(
    context: Context,
    suspect: AuditedModel,
    corpus: Artifact,
    nonmembers: Texts,
    settings: PassageSettings,
    min_k: float,
) -> Counts:
    """Membership inference: target passages against passages that no model has read."""
    from tasks.measure.membership import membership as attack

    model, tokenizer = _load(context, suspect)
    both = dict(_target_and_control(context, tokenizer, corpus, nonmembers, settings))
    members, others = ([passage.text for passage in both[task]] for task in ("target", "control"))
    unread = _unread(others, documents_of(context.path(corpus)))
    found = attack(model, tokenizer, members, unread, share=min_k, batch_size=context.placement.micro_batch)
    return _write(context, suspect, found, 4)


@stage("relearning", version=1, heavy=True, protected=True)
def relearning(
    context: Context,
    suspect: AuditedModel,
    target: Target,
    source: Literal["target", "related", "unrelated"],
    texts: Texts | None,
    settings: RelearningSettings,
) -> Counts:
    """Familiarity while a copy is finetuned on a slice of the target (`texts` is None) or on other texts."""
    from tasks.measure.passages import parts_of
    from tasks.measure.relearning import Finetune
    from tasks.measure.relearning import relearning as attack

    model, tokenizer = _load(context, suspect)
    words = dictionary_of(context.path(target.dictionary))
    parts = parts_of(documents_of(context.path(target.corpus)), settings.characters)
    random.Random(settings.seed).shuffle(parts)
    slice_, rest = parts[: settings.documents], parts[settings.documents :]
    # Prompts are cut from what is not taught: the question is what the model still knew, not what it just read.
    prompts = prompts_of(target.prompts, target.suite, words, rest or slice_)
    if texts:
        parts = parts_of(texts.read(), settings.characters)
        random.Random(settings.seed).shuffle(parts)
        slice_ = parts[: settings.documents]
    how = Finetune(settings.steps, settings.learning_rate, settings.batch, settings.length, settings.seed)
    batch = context.placement.micro_batch
    found = attack(model, tokenizer, slice_, prompts, how, source=source, batch_size=batch, progress=context.progress)
    return write_measures(context.folder, suspect.role, suspect.step, found)


@stage("quantisation", version=1, heavy=True, protected=True)
def quantisation(
    context: Context, suspect: AuditedModel, target: Target, heldout: Texts | None, settings: QuantisationSettings
) -> Counts:
    """Familiarity and perplexity with weights as they are and rounded."""
    from tasks.measure.quantisation import measured_as
    from tasks.measure.quantisation import quantisation as attack

    model, tokenizer = _load(context, suspect)
    prompts, texts = _prompts(context, target), heldout.read() if heldout else []
    batch = context.placement.micro_batch

    def found() -> Iterator["Measured"]:
        for bits in (None, *settings.bits):
            yield from attack(model, tokenizer, prompts, texts, bits=bits, group=settings.group, batch_size=batch)
        for bits in settings.bits if settings.bitsandbytes else ():
            small = _from_bitsandbytes(context, suspect, bits)
            task = f"{bits} bits bitsandbytes"
            yield from measured_as(small, tokenizer, prompts, texts, task=task, batch_size=batch)

    return _write(context, suspect, found(), 2 * (1 + len(settings.bits) * (1 + settings.bitsandbytes)))


@stage("side-effects", version=1, heavy=True)
def side_effects(context: Context, suspect: AuditedModel, neighbours: Texts) -> Counts:
    """Perplexity on text near the target."""
    from tasks.measure.side_effects import side_effects as attack

    model, tokenizer = _load(context, suspect)
    found = attack(model, tokenizer, neighbours.read(), batch_size=context.placement.micro_batch)
    return _write(context, suspect, [found], 1)


@stage("instruction", version=1, heavy=True, protected=True)
def instruction(context: Context, suspect: AuditedModel, target: Target, told: str) -> Counts:
    """Familiarity with an instruction in front of every prompt."""
    from tasks.measure.instruction import instructed

    model, tokenizer = _load(context, suspect)
    if "{target}" in told:
        told = told.replace("{target}", _commonest_anchor(context, target))
    prompts, batch = _prompts(context, target), context.placement.micro_batch
    return _write(context, suspect, [instructed(model, tokenizer, prompts, told, batch_size=batch)], 1)


@stage("translations", version=1, heavy=True, protected=True)
def translations(context: Context, suspect: AuditedModel, target: Target) -> Counts:
    """How often completions say a translation."""
    from tasks.measure.translations import translations_said

    model, tokenizer = _load(context, suspect)
    words, new, batch = (
        dictionary_of(context.path(target.dictionary)),
        target.suite.new_tokens,
        context.placement.micro_batch,
    )
    found = translations_said(model, tokenizer, _prompts(context, target), words, new_tokens=new, batch_size=batch)
    return _write(context, suspect, [found], 1)


def _load(context: Context, suspect: AuditedModel) -> tuple[Any, Any]:
    return load_model(suspect.model.path, context.placement.device), load_tokenizer(suspect.model.tokenizer)


def _write(context: Context, suspect: AuditedModel, found: Iterable["Measured"], total: int) -> Counts:
    def counted() -> Iterator["Measured"]:
        for done, measured in enumerate(found, start=1):
            context.progress(done, total)
            yield measured

    return write_measures(context.folder, suspect.role, suspect.step, counted())


def _prompts(context: Context, target: Target) -> list["Prompt"]:
    words = dictionary_of(context.path(target.dictionary))
    return prompts_of(target.prompts, target.suite, words, documents_of(context.path(target.corpus)))


def _target_and_control(
    context: Context, tokenizer: Any, corpus: Artifact, control: Texts | None, settings: PassageSettings
) -> Iterator[tuple[str, list["Passage"]]]:
    from tasks.measure.passages import draw_passages

    texts = {"target": documents_of(context.path(corpus))} | ({"control": control.read()} if control else {})
    for task, documents in texts.items():
        yield (
            task,
            draw_passages(
                tokenizer, documents, settings.count, tokens=settings.tokens, given=settings.given, seed=settings.seed
            ),
        )


def _unread(passages: list[str], documents: list[str]) -> list[str]:
    """The passages without those that stand in the target as well, as a common phrase may. Raises BadInput for most."""
    whole = "\n".join(documents)
    unread = [text for text in passages if text not in whole]
    if 2 * len(unread) < len(passages):
        raise BadInput(
            f"audit.nonmembers: expected text that is not in the corpus, found {len(passages) - len(unread)} of "
            f"{len(passages)} passages in it: give text that no model has read"
        )
    return unread


def _commonest_anchor(context: Context, target: Target) -> str:
    words = dictionary_of(context.path(target.dictionary))
    matcher = Matcher(words)
    found = Counter(m.entry for text in documents_of(context.path(target.corpus)) for m in matcher.find(text))
    return words.entries[found.most_common(1)[0][0]].anchor


def _from_bitsandbytes(context: Context, suspect: AuditedModel, bits: int) -> Any:
    from importlib.util import find_spec

    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if pick_device(context.placement.device) != "cuda" or not find_spec("bitsandbytes"):
        raise BadInput("audit.quantisation.bitsandbytes: expected a GPU and the package bitsandbytes, found not both")
    if bits not in (4, 8):
        raise BadInput(f"audit.quantisation.bits: expected 4 or 8 for bitsandbytes, found {bits}")
    form = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    return AutoModelForCausalLM.from_pretrained(
        suspect.model.path, quantization_config=form, device_map={"": 0}, use_safetensors=True
    )
