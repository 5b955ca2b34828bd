"""Passages: stretches of text of about the same number of tokens, cut between words, drawn by seed.

All that is compared with each other (target and control, member and non-member) is cut the same way: length alone
tells texts apart otherwise.
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from storage.errors import BadInput
from storage.settings import Seed, Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tasks.measure.scoring import Encoded


WHOLE_WORD = 16
"""Tokens by which a passage may be longer than the settings say: its last word whole, and what the tokenizer puts in
front of every text."""


class PassageSettings(Settings):
    """Passages of the target, and of the texts that it is compared with."""

    count: int = Field(default=100, ge=1)
    """Passages, drawn from all that are long enough."""
    tokens: int = Field(default=100, ge=4)
    """Length of a passage (Carlini et al. 2023 give 50 tokens and look for 50)."""
    given: int = Field(default=50, ge=1)
    """Tokens of a passage that the model is given to go on with."""
    seed: Seed = 0
    """Draws the passages."""

    @model_validator(mode="after")
    def _leaves_something(self) -> "PassageSettings":
        if self.given >= self.tokens:
            raise ValueError(f"expected given < tokens, found {self.given} of {self.tokens}")
        return self


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document, and how many of its characters are given to a model that shall go on with it."""

    document: int
    text: str
    given: int

    @property
    def prompt(self) -> str:
        return self.text[: self.given].rstrip()

    @property
    def rest(self) -> str:
        return self.text[self.given :].strip()


def draw_passages(
    tokenizer: "PreTrainedTokenizerBase", documents: Sequence[str], settings: PassageSettings
) -> list[Passage]:
    """Up to `count` passages of `tokens` tokens that do not overlap, in the documents' order.

    The first `given` tokens are the prompt of a verbatim attack. A word that a border would cut goes to the passage
    before. BadInput where no document is long enough.
    """
    from tasks.measure.scoring import encode

    passages = [
        passage
        for number, (text, encoded) in enumerate(zip(documents, encode(tokenizer, documents), strict=True))
        for passage in _cut(number, text, encoded, settings)
    ]
    if not passages:
        raise BadInput(f"No text is {settings.tokens} tokens long: give longer texts, or choose shorter passages.")
    chosen = random.Random(settings.seed).sample(range(len(passages)), min(settings.count, len(passages)))
    return [passages[index] for index in sorted(chosen)]


def _cut(number: int, text: str, encoded: "Encoded", settings: PassageSettings) -> list[Passage]:
    ends = [end for _, end in encoded.offsets if end]  # a special token has no place in the text
    passages, first, start = [], 0, 0
    while first + settings.tokens <= len(ends):
        middle = _word_end(text, ends[first + settings.given - 1])
        end = _word_end(text, ends[first + settings.tokens - 1])
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if start < middle and text[middle:end].strip():
            passages.append(Passage(number, text[start:end], middle - start))
        start, first = end, bisect_right(ends, end)
    return passages


def _word_end(text: str, place: int) -> int:
    while place < len(text) and not text[place].isspace():
        place += 1
    return place


def parts_of(documents: Sequence[str], characters: int) -> list[str]:
    """Documents of up to `characters` whole, longer ones in parts, cut at a line's end where there is one."""
    parts = []
    for document in documents:
        rest = document
        while len(rest) > characters:
            cut = max(rest.rfind("\n", 0, characters), 0) or max(rest.rfind(" ", 0, characters), 0) or characters
            parts.append(rest[:cut])
            rest = rest[cut:]
        parts.append(rest)
    return [part for part in parts if part.strip()]
