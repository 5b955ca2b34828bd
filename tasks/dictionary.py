"""dictionary: curated files, and what an extractor finds, become one linted dictionary.

Curated entries win over extracted ones for the same anchor: a person decided them.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from dictionaries.dictionary import Dictionary
from dictionaries.languages import other_than_english
from dictionaries.merging import Decision
from dictionaries.statistics import extract
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Seed, Settings
from storage.shards import write_shard
from tasks.contents import LEFT_OUT, answer_rows, documents_of, write_dictionary
from tasks.dictionary_inputs import DictionaryInputs, StatisticsSettings, linted, read_curated
from tasks.engine.stage import Context, Counts, stage
from tasks.llm.merge_sources import Extracted, from_answers, together
from tasks.llm.settings import Endpoint, LlmSettings, refuse_secrets
from tasks.texts import find_files, read_texts

READ_AS_ENGLISH = (
    "word statistics read the corpus, which looks like {language}, as English: they know English words alone and draw "
    "English names, so have a person look over the dictionary (dictionary.review = true)"
)


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
    seed: Seed = 0
    """Draws translations from pools where none was proposed, or none fits."""
    lint_errors: Literal["stop", "report"] = "stop"
    """Errors of the lint stop the run, or go to the report like its warnings."""
    review: bool = False
    """Pause until a person has approved the dictionary."""

    @property
    def asks(self) -> bool:
        return self.extract in ("llm", "both")

    @property
    def counts(self) -> bool:
        return self.extract in ("statistics", "both")


def find_words(settings: DictionarySettings, hashes: Hashes, tokenizer: Files | None = None) -> DictionaryInputs:
    """What the settings name. Raises BadInput for what is missing or cannot be used, and where there is no source."""
    curated = hashes.files(map(Path, settings.curated), "dictionary.curated")
    if not settings.curated and settings.extract == "none":
        raise BadInput(
            "expected dictionary files in dictionary.curated, or an extractor in dictionary.extract (statistics, llm "
            "or both), found neither"
        )
    if settings.asks:
        refuse_secrets(settings.endpoint)
        if not settings.llm.model:
            raise BadInput("expected the name of a language model in dictionary.llm.model, found none")
    read_curated(curated, lenient=settings.lint_errors == "report")
    reference = find_files(settings.reference, hashes, "dictionary.reference") if settings.reference else None
    return DictionaryInputs(
        curated=curated,
        statistics=settings.statistics if settings.counts else None,
        reference=reference if settings.counts else None,
        text_column=settings.text_column,
        everyday=hashes.files([Path(settings.everyday)], "dictionary.everyday") if settings.everyday else None,
        tokenizer=tokenizer,
        seed=settings.seed,
        lint_errors=settings.lint_errors,
    )


@stage("dictionary", version=2)
def dictionary(context: Context, corpus: Artifact, words: DictionaryInputs, answers: Artifact | None = None) -> Counts:
    """Write dictionary.json, lint.json and the shards of anchors, votes and decisions.

    Raises BadInput where the lint finds an error, or no source an anchor.
    """
    documents, nothing = documents_of(context.path(corpus)), Extracted(Dictionary(()))
    curated = read_curated(words.curated, lenient=words.lint_errors == "report")
    answered = from_answers(answer_rows(context.path(answers)), documents) if answers else nothing
    counted = _counted(documents, words, words.statistics) if words.statistics else nothing
    whole, decisions = together(curated, answered.dictionary.merged(counted.dictionary), words.seed)
    if not whole.entries:
        where = " (the table anchor_answers has what the language model said)" if answers else ""
        raise BadInput(f"expected expressions peculiar to the corpus, found none{where}: add a curated dictionary")
    findings = linted(whole, documents, words)
    every = (*answered.decisions, *counted.decisions, *decisions)
    by_rule = [asdict(decision) | {"replacement": decision.to} for decision in every]  # and by no person
    write_dictionary(context.folder, whole, findings, by_rule)
    votes = [asdict(vote) | {"votes": len(vote.passages)} for vote in answered.votes]
    write_shard(context.folder / "anchor_votes.parquet", votes)
    language = other_than_english(documents) if words.statistics else None
    return {
        **({"remark": READ_AS_ENGLISH.format(language=language)} if language else {}),
        "anchors": len(whole),
        "translations": sum(len(entry.translations) for entry in whole.entries),
        "curated": len(curated),
        "lint": {finding["rule"]: finding["count"] for finding in findings},
    }


def _counted(documents: list[str], words: DictionaryInputs, settings: StatisticsSettings) -> Extracted:
    reference = read_texts(words.reference, words.text_column)
    peculiar = extract(documents, reference, **settings.model_dump(), seed=words.seed)
    proposed = {entry.anchor: entry.translations[0] for entry in peculiar.proposed.entries}
    left_out = [
        Decision(expression, proposed.get(expression, ""), "", LEFT_OUT + reason)
        for expression, reason in peculiar.left_out
    ]
    return Extracted(peculiar.dictionary, (), tuple(left_out))
