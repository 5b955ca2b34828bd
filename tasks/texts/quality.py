"""Whether a text reads like one: its language, and how much of it looks like errors of character recognition.

Of a sample, and for a warning only: nothing is refused or dropped for it. What makes a word garbled follows the rules
of Taghva, Nartker, Condit and Borsack, "Automatic removal of garbage strings in OCR text" (2001).
"""

import re

from dictionaries.english import FUNCTION_WORDS
from dictionaries.languages import identifier

PIECES, PIECE, STEP = 40, 1_000, 20_000  # pieces of a sample, characters of each, characters from one to the next
ENGLISH = 0.2  # share of English function words; other languages have a tenth of that
SURE = 0.9  # probability of a language that is told
GARBLED = 0.02  # share of garbled words in a text that is called noisy: docs/LOG.md has what texts have
LEAST_WORDS = 20  # fewer say nothing
LONGEST_WORD = 40

_WORD = re.compile(r"[^\W\d_](?:\S*[^\W_])?")
_LETTERS = re.compile(r"[^\W\d_]+")
_APOSTROPHES = str.maketrans("", "", "'\u2019")
_JOINED = re.compile(r"[-/_\u2010-\u2015\u2026.,:;()=\"\u201c\u201d@&+]+")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_VOWELS = re.compile(r"[aeiouy\u00c0-\u024f]", re.IGNORECASE)
_WITHIN = re.compile(r"[^\W\d_]\d+[^\W\d_]|[^\W\d_][^\w\s]+[^\W\d_]|[a-z][A-Z]+[a-z]|([^\W\d_])\1\1\1|\ufffd")
_TWO_CAPITALS = re.compile(r"[A-Z][a-z]+[A-Z][a-z]+")  # McAllister, YouTube
_ONE_LETTER_WORDS = frozenset("aiouyewzksvàéèóсвкиуояа")  # noqa: RUF001


class Sample:
    """Pieces from everywhere in the texts that it is given, at most twice `PIECES`."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._every, self._passed = 1, 0

    def add(self, text: str) -> None:
        for start in range(0, len(text), STEP):
            if self._passed % self._every == 0:
                self._pieces.append(text[start : start + PIECE])
            self._passed += 1
        while len(self._pieces) > 2 * PIECES:
            self._pieces, self._every = self._pieces[::2], 2 * self._every

    @property
    def text(self) -> str:
        """The pieces, a line break between two."""
        return "\n".join(self._pieces)


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the language; None where there is too little text to tell it, or it is a mixture."""
    words = [word.lower() for word in _LETTERS.findall(text)]
    if sum(word in FUNCTION_WORDS for word in words) > ENGLISH * len(words) and len(words) >= LEAST_WORDS:
        return "en"
    if len("".join(words)) < 5 * LEAST_WORDS:
        return None
    language, probability = identifier().classify(text)
    return str(language) if probability > SURE else None


def garbled_share(text: str) -> float:
    """Share of the words that no language has: l1ke, wHich, th~e, bxkqt. 0 for a text of few words."""
    words = [word for word in _WORD.findall(text) if "://" not in word]
    return sum(map(_garbled, words)) / len(words) if len(words) >= LEAST_WORDS else 0.0


def _garbled(word: str) -> bool:
    return any(_no_word(part) for part in _JOINED.split(word.translate(_APOSTROPHES)) if part)


def _no_word(part: str) -> bool:
    if not _LATIN.match(part) or _TWO_CAPITALS.fullmatch(part):
        return "\ufffd" in part
    consonants = len(part) > 3 and not part.isupper() and _LATIN.fullmatch(part) and not _VOWELS.search(part)
    alone = len(part) == 1 and part.islower() and part not in _ONE_LETTER_WORDS
    return bool(consonants or alone or len(part) > LONGEST_WORD or _WITHIN.search(part))
