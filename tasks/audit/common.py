"""What the attacks share: the audited model, the target and the other texts, and what an attack is made of."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from dictionaries.dictionary import Dictionary
from dictionaries.invented import invented
from dictionaries.matching import Matcher
from storage.artifact import Artifact
from storage.files import Files
from storage.settings import Settings
from tasks.audit.passages import Passage, PassageSettings, draw_passages
from tasks.audit.verdicts import AuditValues, Ruling
from tasks.contents import dictionary_of, documents_of
from tasks.engine.stage import Context, Counts, Stage
from tasks.measure.intervals import Form
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured, write_measures
from tasks.measure.suite import Suite, prompts_of
from tasks.models import Model, load_model, load_tokenizer
from tasks.texts import Texts


class AuditedModel(Settings):
    """A model under attack, and its role in the tables."""

    model: Model
    role: str
    step: int | None = None
    precision: str = Field(default="float32", exclude_if=lambda precision: precision == "float32")
    """Of its weights and arithmetic: that in which it is served."""


class Target(Settings):
    """What prompts about the target are made of."""

    corpus: Artifact
    dictionary: Artifact
    prompts: Files | None
    suite: Suite


NEEDS_NEIGHBOURS = "needs text near the target without its content (audit.neighbours)"


class AuditTexts(Settings):
    """The texts that attacks need besides the target; None where the job names none."""

    neighbours: Texts | None
    nonmembers: Texts | None
    heldout: Texts | None
    forms: Files | None = None
    """Questions in several forms."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of the audit."""

    meaning: str
    """What a value is."""
    form: Form = "share"
    conditions: Callable[[str], tuple[str, str]] = lambda task: (task, "")
    """A task as (group, condition): what one group tried on the same items is shown side by side."""
    unit: str = ""
    """Of the conditions."""

    @property
    def share(self) -> bool:
        """Whether values are shown in percent."""
        return self.form in ("share", "auc")


@dataclass(frozen=True)
class Attack:
    """One attack, whole. Lower is better in all its metrics but perplexities, where the baseline's value is best."""

    stage: Stage
    title: str
    """Its name for a person."""
    question: str
    """What is tried, for a person."""
    metrics: Mapping[str, Metric]
    """By the name in the column `metric`."""
    calls: Callable[[Target, AuditTexts, Any], Iterable[tuple[Any, ...]]]
    """The stage's arguments behind the audited model, once a variant, of target, texts and AuditSettings."""
    judge: Callable[[AuditValues], Ruling]
    """What the numbers say."""
    untested: str = ""
    """What is not known of a model on which it was not made."""
    leak: str = ""
    """How it stands in the headline about what comes back; empty for an attack that tries or proves no such thing."""
    headline: Callable[[AuditValues], str] = lambda values: ""
    """What it adds to the headline with its numbers; mostly nothing."""
    annex: bool = False
    """Whether it stands at the end of the page: its measure tells less than others do (docs/METRICS.md)."""
    missing: Callable[[AuditTexts], Mapping[str, str]] = lambda texts: {}
    """What cannot be made without texts that the job does not name, with the reason."""
    only: str = ""
    """The one role of models that it is made on; by default all are."""
    beside: str = ""
    """The role of a model that its stage takes behind the audited one, if any."""


def familiarity(loaded: LoadedModel, prompts: Sequence[Prompt], metric: str, task: str = "") -> Measured:
    """The probability of continuations that only the target has, as a measure of this name."""
    from tasks.measure.familiarity import by_probability

    measured = by_probability(loaded, [replace(prompt, generic=()) for prompt in prompts])
    return replace(measured, metric=metric, task=task)


def with_invented_names(
    texts: Sequence[str], prompts: Sequence[Prompt], dictionary: Dictionary, seed: int
) -> tuple[list[str], list[Prompt]]:
    """The texts and prompts with a word that exists nowhere for every anchor, the same one throughout."""
    matcher, names = Matcher(dictionary), [entry.translations[0] for entry in invented(dictionary, seed).entries]
    renamed = [
        Prompt(matcher.rewrite(prompt.prompt, names), tuple(matcher.rewrite(a, names) for a in prompt.idiosyncratic))
        for prompt in prompts
    ]
    return [matcher.rewrite(text, names) for text in texts], renamed


class Attacked:
    """The audited model in memory, and the artifact that is made of it."""

    def __init__(self, context: Context, suspect: AuditedModel) -> None:
        self.context, self.suspect = context, suspect
        model = load_model(suspect.model.path, context.placement.device, suspect.precision)
        self.loaded = LoadedModel(model, load_tokenizer(suspect.model.tokenizer), context.placement.micro_batch)

    def documents(self, corpus: Artifact) -> list[str]:
        return documents_of(self.context.path(corpus))

    def dictionary(self, artifact: Artifact) -> Dictionary:
        return dictionary_of(self.context.path(artifact))

    def prompts(self, target: Target) -> list[Prompt]:
        """The prompts about the target, the same for every model."""
        words, documents = self.dictionary(target.dictionary), self.documents(target.corpus)
        return prompts_of(target.prompts, target.suite, words, documents)

    def passages(
        self, corpus: Artifact, control: Texts | None, settings: PassageSettings
    ) -> Iterator[tuple[str, list[Passage]]]:
        """("target", its passages), and ("control", others) where there are some, drawn alike."""
        texts = {"target": self.documents(corpus)} | ({"control": control.read()} if control else {})
        for task, documents in texts.items():
            yield task, draw_passages(self.loaded.tokenizer, documents, settings)

    def write(self, measures: Iterable[Measured], total: int) -> Counts:
        """Write what was measured, and say after each of `total` measures how far it is."""

        def counted() -> Iterator[Measured]:
            for done, measured in enumerate(measures, start=1):
                self.context.progress(done, total)
                yield measured

        return write_measures(self.context.folder, self.suspect.role, self.suspect.step, counted())
