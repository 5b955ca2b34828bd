"""dictionary: curated files, and what an extractor finds, become one linted dictionary.

Curated entries win over extracted ones for the same anchor: a person decided them.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dictionaries.dictionary import Dictionary
from dictionaries.lint import Finding, lint, refuse_errors
from dictionaries.merging import Decision, Vote
from dictionaries.statistics import extract
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from storage.tables import write_shard
from tasks.corpus import documents_of, find_files, read_texts, read_utf8
from tasks.extraction.settings import Endpoint, LlmSettings, refuse_secrets
from tasks.extraction.store import rows_in
from tasks.extraction.together import Extracted, from_answers, together
from tasks.stage import Counts, Work, stage

FILE = "dictionary.json"
LINT = "lint.json"


class StatisticsSettings(Settings):
    """The extractor that needs no language model."""

    min_count: int = Field(default=3, ge=1)
    """Occurrences that an expression needs."""
    max_anchors: int = Field(default=1500, ge=1)
    """Longest dictionary; the most peculiar expressions stay."""


class DictionarySettings(Settings):
    """Which words are peculiar to the target, and what replaces them."""

    curated: tuple[str, ...] = ()
    """Dictionary files, JSON or TOML: {anchor: translation or [translations]}. Earlier files win."""
    extract: Literal["none", "statistics", "llm", "both"] = "none"
    """Who looks for anchors besides the curated files: nobody, word statistics, a language model, or both."""
    reference: tuple[str, ...] = ()
    """Ordinary text to compare the target with (statistics): files or folders, as for the corpus."""
    text_column: str = "text"
    """Column of the reference in jsonl and Parquet files."""
    everyday: str | None = None
    """A list of everyday words for the lint, separated by white space; by default the one that comes with nepenthe."""
    statistics: StatisticsSettings = StatisticsSettings()
    """The statistical extractor."""
    llm: LlmSettings = LlmSettings()
    """The question to the language model."""
    endpoint: Endpoint = Endpoint()
    """Where the language model is, and how fast it is asked; never part of a fingerprint."""
    seed: int = 0
    """Draws translations from pools where none was proposed, or none fits."""
    lint_errors: Literal["stop", "report"] = "stop"
    """Errors of the lint stop the run, or go to the report like its warnings."""
    review: bool = False
    """Pause until a person has approved the dictionary."""

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return self.extract in ("llm", "both")

    @property
    def counts(self) -> bool:
        """Whether word statistics are used."""
        return self.extract in ("statistics", "both")


class Words(Settings):
    """What the dictionary is made from, besides the corpus and the answers of a language model."""

    curated: Files
    """Files."""
    statistics: StatisticsSettings | None = None
    """None where statistics are not used; then there is no reference, either."""
    reference: Files | None = None
    text_column: str = "text"
    everyday: Files | None = None
    tokenizer: Files | None = None
    seed: int = 0
    lint_errors: str = "stop"


def find_words(settings: DictionarySettings, hashes: Hashes, tokenizer: Files | None = None) -> Words:
    """What the settings name. Raises BadInput for what is missing or cannot be used, and where there is no source."""
    curated = hashes.files(map(Path, settings.curated))
    _refuse(settings)
    read_curated(curated, lenient=settings.lint_errors == "report")
    reference = find_files(settings.reference, hashes, "dictionary.reference") if settings.reference else None
    return Words(
        curated=curated,
        statistics=settings.statistics if settings.counts else None,
        reference=reference if settings.counts else None,
        text_column=settings.text_column,
        everyday=hashes.files([Path(settings.everyday)]) if settings.everyday else None,
        tokenizer=tokenizer,
        seed=settings.seed,
        lint_errors=settings.lint_errors,
    )


@stage("dictionary", version=2)
def dictionary(work: Work, corpus: Artifact, words: Words, answers: Artifact | None = None) -> Counts:
    """Write dictionary.json, lint.json and the shards of anchors, votes and decisions.

    Raises BadInput where the lint finds an error, or no source an anchor.
    """
    documents = documents_of(work.path(corpus))
    curated = read_curated(words.curated, lenient=words.lint_errors == "report")
    asked, counted = _answered(work, documents, answers), _counted(documents, words)
    made, decisions = together(curated, asked.dictionary.merged(counted.dictionary), words.seed)
    if not made.entries:
        raise BadInput("expected expressions peculiar to the corpus, found none: add a curated dictionary")
    findings = lint(made, documents, tokens_with(words.tokenizer), everyday_words(words.everyday))
    if words.lint_errors == "stop":
        refuse_errors(findings)
    write_dictionary(work.folder, made, findings, [*asked.decisions, *counted.decisions, *decisions])
    write_shard(work.folder / "anchor_votes.parquet", [vote_row(vote) for vote in asked.votes])
    return {
        "anchors": len(made),
        "translations": sum(len(entry.translations) for entry in made.entries),
        "curated": len(curated),
        "lint": {finding.rule: finding.count for finding in findings},
    }


def write_dictionary(folder: Path, made: Dictionary, findings: list[Finding], decisions: list[Decision]) -> None:
    """The files and shards of a dictionary artifact, votes aside."""
    made.write(folder / FILE)
    (folder / LINT).write_text(lint_json(findings), encoding="utf-8")
    write_shard(folder / "anchors.parquet", [row(entry) for entry in made.entries])
    write_shard(folder / "anchor_decisions.parquet", [decision_row(decision) for decision in decisions])


def _answered(work: Work, documents: list[str], answers: Artifact | None) -> Extracted:
    """What the language model proposed."""
    if answers is None:
        return Extracted(Dictionary(()))
    return from_answers(rows_in(work.path(answers)), documents)


def _counted(documents: list[str], words: Words) -> Extracted:
    """What word statistics find."""
    if words.statistics is None:
        return Extracted(Dictionary(()))
    reference = [text for _, text in read_texts(words.reference, words.text_column)] if words.reference else []
    settings = words.statistics
    found = extract(
        documents, reference, min_count=settings.min_count, max_anchors=settings.max_anchors, seed=words.seed
    )
    proposed = {entry.anchor: entry.translations[0] for entry in found.proposed.entries}
    left_out = (
        Decision(expression, proposed.get(expression, ""), "", f"left out: {reason}")
        for expression, reason in found.left_out
    )
    return Extracted(found.dictionary, (), tuple(left_out))


def _refuse(settings: DictionarySettings) -> None:
    if not settings.curated and settings.extract == "none":
        raise BadInput(
            "expected dictionary files in dictionary.curated, or an extractor in dictionary.extract (statistics, llm "
            "or both), found neither"
        )
    if settings.asks:
        refuse_secrets(settings.endpoint)
        if not settings.llm.model:
            raise BadInput("expected the name of a language model in dictionary.llm.model, found none")


def read_curated(files: Files, lenient: bool = False) -> Dictionary:
    """All curated files as one dictionary, empty where there is none."""
    found = [Dictionary.read(path, lenient) for path in files.paths]
    return found[0].merged(*found[1:]) if found else Dictionary(())


def tokens_with(tokenizer: Files | None) -> Callable[[str], int] | None:
    """How many tokens a text costs in the middle of a sentence."""
    if tokenizer is None:
        return None
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(tokenizer.paths[0])
    return lambda text: len(encoder.encode(f" {text}", add_special_tokens=False).ids)


def everyday_words(files: Files | None) -> frozenset[str] | None:
    """The user's own list, where there is one."""
    return frozenset(read_utf8(Path(files.paths[0])).split()) if files else None


def dictionary_of(folder: Path) -> Dictionary:
    """The dictionary of an artifact."""
    return Dictionary.read(folder / FILE, lenient=True)  # it was linted when it was made


def lint_of(folder: Path) -> list[dict[str, Any]]:
    """What the lint found in the dictionary of an artifact: [{rule, severity, count, examples}]."""
    found: list[dict[str, Any]] = json.loads((folder / LINT).read_text(encoding="utf-8"))
    return found


def lint_json(findings: list[Finding]) -> str:
    """[{rule, severity, count, examples}]."""
    return json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False)


def row(entry: Any) -> dict[str, Any]:
    """An entry as a row of the `anchors` table."""
    names = ("anchor", "kind", "translations", "votes", "provenance")
    return {name: getattr(entry, name) for name in names}


def vote_row(vote: Vote) -> dict[str, Any]:
    """A vote as a row of `anchor_votes`."""
    return {
        "anchor": vote.anchor,
        "translation": vote.translation,
        "votes": len(vote.passages),
        "passages": vote.passages,
    }


def decision_row(decision: Decision) -> dict[str, Any]:
    """A rule's decision as a row of `anchor_decisions`."""
    return {
        "anchor": decision.anchor,
        "translation": decision.translation,
        "replacement": decision.to,
        "reason": decision.reason,
        "decided_by": None,
        "decided_at": None,
    }
