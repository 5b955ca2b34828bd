"""Finds anchors in text: whole words, exact case, the leftmost first and the longest of those.

`start` and `end` limit where a match may lie, not what it sees. A word that
the limit cuts in two never matches, neither does the half of it that looks like an anchor.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dictionaries.dictionary import Dictionary, canonical

# Letters, digits and combining marks. Not the underscore: plain-text books write _Oz_ for italics.
LETTER = r"(?:[^\W_\u02bc]|[\u0300-\u036f])"
_LETTER = re.compile(LETTER)


@dataclass(frozen=True, slots=True)
class Match:
    """`text[start:end]` is an occurrence of `dictionary.entries[entry].anchor`; characters, not tokens."""

    start: int
    end: int
    entry: int


class Matcher:
    """Every anchor of a dictionary in one compiled expression: 12 MB of text a second with 1,676 of them."""

    def __init__(self, dictionary: Dictionary) -> None:
        self._entry = {canonical(entry.anchor): index for index, entry in enumerate(dictionary.entries)}
        self._pattern = re.compile(_pattern_of(self._entry)) if self._entry else None

    def find(self, text: str, start: int = 0, end: int | None = None) -> list[Match]:
        """The occurrences that lie in text[start:end], in order, never overlapping."""
        if self._pattern is None:
            return []
        end = _before_cut_word(text, len(text) if end is None else end)
        found = []
        for match in self._pattern.finditer(text, start, end):  # its look-behind does see text[:start]
            anchor = match.group()
            entry = self._entry.get(anchor)
            found.append(Match(*match.span(), self._entry[canonical(anchor)] if entry is None else entry))
        return found


def _before_cut_word(text: str, end: int) -> int:
    """The last place at or before `end` that is not inside a word: nothing that ends later is whole."""
    if not 0 < end < len(text) or not _LETTER.match(text[end]):
        return end
    while end > 0 and _LETTER.match(text[end - 1]):
        end -= 1
    return end


def _pattern_of(anchors: Iterable[str]) -> str:
    """The anchors, given in canonical form, as one expression with word boundaries at their letters."""
    words = [anchor for anchor in anchors if _LETTER.match(anchor)]
    others = [anchor for anchor in anchors if not _LETTER.match(anchor)]
    parts = [f"(?<!{LETTER})(?:{_branches(words)})"] if words else []
    return "|".join([*parts, _branches(others)] if others else parts)


def _branches(anchors: list[str], cuts: tuple[int, ...] = (1, 3), done: int = 0) -> str:
    """Branches on the first character, then on the next two, then flat: a bounded depth for any anchors.

    The longer key comes first at every level. Of two anchors that match in one place one begins with the
    other, so the first alternative that matches is the longest.
    """
    if not cuts:
        return "|".join(_whole(anchor, done) for anchor in sorted(anchors, key=len, reverse=True))
    groups = defaultdict(list)
    for anchor in anchors:
        groups[anchor[done : cuts[0]]].append(anchor)
    keys = sorted(groups, key=len, reverse=True)
    return "|".join(f"{_spelled(key)}(?:{_branches(groups[key], cuts[1:], cuts[0])})" for key in keys)


def _whole(anchor: str, done: int) -> str:
    return _spelled(anchor[done:]) + (f"(?!{LETTER})" if _LETTER.match(anchor[-1]) else "")


def _spelled(part: str) -> str:
    """Any white space for a space (books wrap lines), any apostrophe for an apostrophe."""
    return "".join({" ": r"\s+", "'": "['\u2019\u2018\u02bc]"}.get(char) or re.escape(char) for char in part)


class Containment:
    """Which anchors stand in a short text as whole words, overlapping ones too: for translations, not for books.

    Here an underscore is part of a word: nobody writes a translation in italics, but some write Grand_Dining_Room.
    """

    def __init__(self, anchors: Iterable[str]) -> None:
        self._by_start: defaultdict[str, list[tuple[str, re.Pattern[str]]]] = defaultdict(list)
        for anchor in anchors:
            pattern = re.compile(rf"(?<!\w){_spelled(canonical(anchor))}(?!\w)")
            self._by_start[canonical(anchor)[0]].append((anchor, pattern))

    def inside(self, text: str) -> list[str]:
        """The anchors, sorted; one that equals the text is inside it."""
        starts = dict.fromkeys(canonical(text))
        return sorted(a for start in starts for a, pattern in self._by_start.get(start, ()) if pattern.search(text))
