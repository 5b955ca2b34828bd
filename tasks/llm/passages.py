"""The corpus in passages: what one question is about.

Passages do not overlap and leave nothing out, so a name is asked about wherever it
stands. Where the same text stands twice, only its first passage is asked about.
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?][\"'\u201d\u2019)]*\s"), re.compile(r"\s"))


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` stands at `document[first : first + len(text)]`."""

    document: int
    first: int
    text: str

    @property
    def name(self) -> str:
        """What the tables call it."""
        return f"{self.document}:{self.first}"


def passages_of(documents: Iterable[str], characters: int) -> Iterator[Passage]:
    """All passages in order, none longer than `characters`, none twice, none of white space alone."""
    seen = set()
    for document, text in enumerate(documents):
        first = 0
        while first < len(text):
            end = _end(text, first, characters)
            passage = text[first:end]
            if passage.strip() and passage not in seen:
                seen.add(passage)
                yield Passage(document, first, passage)
            first = end


def drawn(passages: Iterable[Passage], count: int | None, seed: int) -> list[Passage]:
    """`count` passages by seed, in the order of the text; all where there are no more, or `count` is None."""
    every = list(passages)
    if count is None or count >= len(every):
        return every
    return [every[index] for index in sorted(random.Random(seed).sample(range(len(every)), count))]


def _end(text: str, first: int, characters: int) -> int:
    """The last paragraph's end in the second half of the room; failing that a sentence's, a word's, or none."""
    limit = first + characters
    if limit >= len(text):
        return len(text)
    for end in _ENDS:
        if ends := [match.end() for match in end.finditer(text, first + characters // 2, limit)]:
            return ends[-1]
    return limit
