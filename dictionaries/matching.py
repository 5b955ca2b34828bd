"""Finds anchors in text: the leftmost first and the longest of those, as each script and language writes them.

`start` and `end` limit where a match may lie, not what it sees: a word that the limit cuts in two never matches,
neither does the half of it that looks like an anchor. Places always count in the text as it is, whatever its width
and accents.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial
from typing import Any

from dictionaries.dictionary import Dictionary, canonical
from dictionaries.inflection import Inflection, with_endings
from dictionaries.korean import alternates, fitting, particles_at
from dictionaries.languages import language_of
from dictionaries.spelling import (
    HANGUL,
    RUNNING,
    before_cut_word,
    composed,
    in_case_of,
    is_simple,
    key_of,
    plain_pattern,
    running_pattern,
    whole,
)

_HYPHEN = re.compile("[-\u2010\u2011\u00b7\u30fb]")
_WIDE = {ord(" "): "\u3000"} | {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)}


@dataclass(frozen=True, slots=True)
class Form:
    """An anchor, how it is written in one place, and the Korean particles behind it that must fit its last sound."""

    anchor: str
    spelling: str
    particles: str = ""

    def write(self, translation: str) -> str:
        """A translation in the capitals, width and endings of this place, joined as the anchor is."""
        spelling = composed(self.spelling)[0]
        if canonical(spelling) != self.anchor:
            if key_of(spelling) != key_of(self.anchor):
                translation = with_endings(translation, self.anchor, spelling)
            between = _HYPHEN.search(spelling)
            if between and between.group() not in self.anchor:
                translation = translation.replace(" ", between.group())
            if spelling.isupper() or spelling.islower() or self.anchor.islower():
                translation = in_case_of(spelling, translation)
        return translation.translate(_WIDE) if "\uff21" <= self.spelling[0] <= "\uff5a" else translation


@dataclass(frozen=True, slots=True)
class Match:
    """`text[start:end]` is an occurrence of `dictionary.entries[entry].anchor`; characters, not tokens.

    `form` is None where it stands as the dictionary has it, and nothing at it hangs on how it ends.
    """

    start: int
    end: int
    entry: int
    form: Form | None = None

    @property
    def reach(self) -> int:
        """The end of what a translation replaces: of the anchor and the particles that must fit it."""
        return self.end + len(self.form.particles) if self.form else self.end

    def write(self, translation: str) -> str:
        """The translation as it stands in this place, without particles."""
        return self.form.write(translation) if self.form else translation

    def particles(self, translation: str) -> str:
        """The particles behind it, as the translation wants them."""
        if not self.form or not self.form.particles:
            return ""
        return fitting(composed(self.form.particles)[0], self.form.anchor, translation)


Span = tuple[int, int, int]  # start, end, entry


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text in composed letters, the places of its characters in the original, and what it is written in."""

    text: str
    places: list[int] | None
    running: bool
    language: str | None


@lru_cache(maxsize=2)  # a document is asked about block by block
def _reading(text: str) -> _Reading:
    if is_simple(text):
        return _Reading(text, None, False, language_of(text))
    read, places = composed(text)
    running = RUNNING.search(read) is not None
    return _Reading(read, places, running, None if running else language_of(read))


class Matcher:
    """Every anchor of a dictionary in one compiled expression: 12 MB of text a second with 1,676 of them."""

    def __init__(self, dictionary: Dictionary) -> None:
        self._anchors = [composed(canonical(entry.anchor))[0] for entry in dictionary.entries]
        self._entry = {anchor: index for index, anchor in enumerate(self._anchors)}
        self._by_key = {key_of(anchor): index for anchor, index in reversed(self._entry.items())}
        self._inflection = cache(partial(Inflection, self._anchors))  # by language

    @cached_property
    def _plain(self) -> Any:
        return plain_pattern(self._entry)

    @cached_property
    def _running(self) -> Any:
        return running_pattern(self._entry)

    def find(self, text: str, start: int = 0, end: int | None = None) -> list[Match]:
        """The occurrences that lie in text[start:end], in order, never overlapping."""
        if not self._anchors:
            return []
        end = before_cut_word(text, len(text) if end is None else end)
        reading = _reading(text)
        if reading.places is None:
            return list(self._matches(text, reading, start, end))
        limits = bisect_left(reading.places, start), bisect_left(reading.places, end)
        return [match for match in self._matches(text, reading, *limits) if match.end <= end]

    def rewrite(self, text: str, chosen: Sequence[str]) -> str:
        """The text with every anchor replaced by what is chosen for its entry, in the form of its place."""
        pieces, at = [], 0
        for match in self.find(text):
            written = match.write(chosen[match.entry])
            pieces += [text[at : match.start], written + match.particles(written)]
            at = match.reach
        return "".join(pieces) + text[at:]

    def _matches(self, text: str, reading: _Reading, start: int, end: int) -> Iterator[Match]:
        """Limits count in the reading, matches in the text."""
        place = reading.places.__getitem__ if reading.places else int
        for first, last, entry in self._spans(reading, start, end):
            named_in_korean = reading.running and HANGUL.match(reading.text, last - 1)
            particles = particles_at(reading.text, last) if named_in_korean else ""
            if particles is None:  # the limit hid that the word goes on
                continue
            fits = alternates(particles) and last + len(particles) <= end
            tail = text[place(last) : place(last + len(particles))] if fits else ""
            spelling, anchor = text[place(first) : place(last)], self._anchors[entry]
            form = Form(anchor, spelling, tail) if tail or canonical(spelling) != anchor else None
            yield Match(place(first), place(last), entry, form)

    def _spans(self, reading: _Reading, start: int, end: int) -> Iterable[Span]:
        pattern = self._running if reading.running else self._plain
        matches = pattern.finditer(reading.text, start, end)
        spans = ((match.start(), match.end(), self._entry_of(match.group())) for match in matches)
        if reading.language is None:
            return spans
        return _resolved([*spans, *self._inflection(reading.language).find(reading.text, start, end)])

    def _entry_of(self, spelling: str) -> int:
        entry = self._entry.get(spelling)
        entry = self._entry.get(canonical(spelling)) if entry is None else entry
        return self._by_key[key_of(spelling)] if entry is None else entry


def _resolved(spans: list[Span]) -> Iterator[Span]:
    """The leftmost, and the longest of those."""
    at = 0
    for start, end, entry in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= at:
            yield start, end, entry
            at = end


class Containment:
    """Which anchors stand in a short text as whole words, overlapping ones too: for translations, not for books.

    Here an underscore is part of a word: nobody writes a translation in italics, but some write Grand_Dining_Room.
    """

    def __init__(self, anchors: Iterable[str]) -> None:
        self._by_start: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
        for anchor in anchors:
            self._by_start[canonical(anchor)[0]].append((anchor, whole(canonical(anchor))))

    def inside(self, text: str) -> list[str]:
        """The anchors, sorted; one that equals the text is inside it."""
        starts = dict.fromkeys(canonical(text))
        return sorted(a for start in starts for a, pattern in self._by_start.get(start, ()) if pattern.search(text))
