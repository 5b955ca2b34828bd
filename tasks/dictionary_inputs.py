"""What a dictionary is made from and checked with, besides the corpus and the answers of a language model.

The dictionary stage and the review share it.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from dictionaries.dictionary import Dictionary
from dictionaries.lint import lint, refuse_errors
from storage.files import Files
from storage.settings import Seed, Settings
from tasks.texts.plain import read_utf8


class StatisticsSettings(Settings):
    """The extractor that needs no language model."""

    min_count: int = Field(default=3, ge=1)
    """Occurrences that an expression needs."""
    max_anchors: int = Field(default=1500, ge=1)
    """Longest dictionary; the most peculiar expressions stay."""


class DictionaryInputs(Settings):
    """What the dictionary is made from, besides the corpus and the answers of a language model."""

    curated: Files
    """Files."""
    statistics: StatisticsSettings | None = None
    """None where statistics are not used; then there is no reference, either."""
    reference: Files | None = None
    text_column: str = "text"
    everyday: Files | None = None
    tokenizer: Files | None = None
    seed: Seed = 0
    lint_errors: str = "stop"


def read_curated(files: Files, lenient: bool = False) -> Dictionary:
    """All curated files as one dictionary, empty where there is none."""
    dictionaries = [Dictionary.read(path, lenient) for path in files.paths]
    return dictionaries[0].merged(*dictionaries[1:]) if dictionaries else Dictionary(())


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


def linted(dictionary: Dictionary, documents: list[str], inputs: DictionaryInputs) -> list[dict[str, Any]]:
    """[{rule, severity, count, examples}] of the lint. Raises BadInput for an error, where errors stop a run."""
    findings = lint(dictionary, documents, tokens_with(inputs.tokenizer), everyday_words(inputs.everyday))
    if inputs.lint_errors == "stop":
        refuse_errors(findings)
    return [asdict(finding) for finding in findings]
