"""Names with the endings of a language: Гермиону for Гермиона, Harrylle for Harry. The stems are Snowball's.

English has no such endings: its names would be found in other words.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from os.path import commonprefix

from dictionaries.dictionary import canonical
from dictionaries.languages import ENDINGS

_GENITIVE = ("de", "sv", "da", "no", "nl")  # an s at a name, which not every stem gives up
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST_ENDING = 6
_ACUTE = "\u0301"
_FINAL_VOWELS = frozenset("aeiouyäöüåõаеёиоуыэюяйьαεηιουωάέήίόύώς")  # noqa: RUF001


class Inflection:
    """The anchors of a dictionary by the stems of their words, in one language."""

    def __init__(self, anchors: Iterable[str], language: str) -> None:
        from snowballstemmer import stemmer

        self._stem = cache(stemmer(ENDINGS[language]).stemWord)
        self._beginning = cache(self._candidates)  # a book has a hundred times as many words as different ones
        self._genitive = language in _GENITIVE
        self._by_first: defaultdict[str, list[tuple[list[str], int]]] = defaultdict(list)
        for entry, anchor in enumerate(anchors):
            words = canonical(anchor).split(" ")
            if all(map(_WORD.fullmatch, words)) and len(anchor) > 2:
                self._by_first[words[0][:2].lower()].append((words, entry))
        for candidates in self._by_first.values():
            candidates.sort(key=lambda candidate: -len(candidate[0]))

    def find(self, text: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, entry) of occurrences in text[start:end]; they may overlap.

        An ending that only follows the anchor stays outside: it is the same behind a translation.
        """
        if start and (cut := _WORD.match(text, start - 1, end)):
            start = cut.end()
        words = list(_WORD.finditer(text, start, end))
        for at, word in enumerate(words):
            for names, entry in self._beginning(word.group()):
                run = words[at : at + len(names)]
                forms = len(run) == len(names) and all(map(self._is_form, names, (word.group() for word in run)))
                if forms and _joined(text, run):
                    last = run[-1]
                    follows = last.group().startswith(names[-1])
                    yield word.start(), last.start() + len(names[-1]) if follows else last.end(), entry
                    break

    def _candidates(self, word: str) -> tuple[tuple[list[str], int], ...]:
        """The anchors whose first word has this form, those of most words first."""
        anchors = self._by_first.get(word[:2].lower(), ())
        return tuple((names, entry) for names, entry in anchors if self._is_form(names[0], word))

    def _is_form(self, name: str, word: str) -> bool:
        """Whether a word is a name with other endings: the same stem, and nothing but final vowels given up."""
        if name == word:
            return True
        if name[0].isupper() != word[0].isupper() or len(word) > len(name) + _LONGEST_ENDING:
            return False
        name, word = name.lower(), word.lower()
        dropped = name[len(commonprefix((name, word))) :]
        if len(dropped) > 2 or not _FINAL_VOWELS.issuperset(dropped):
            return False
        # A stemmer takes the t of Roxfort for an ending, and leaves it in Roxfortban.
        return self._stem(word) in (self._stem(name), name) or (self._genitive and word == f"{name}s")


def _joined(text: str, words: list[re.Match[str]]) -> bool:
    """Whether nothing but spaces or hyphens stands between words."""
    return all(not text[a.end() : b.start()].strip(" \n\t-") for a, b in pairwise(words))


def with_endings(translation: str, anchor: str, spelling: str) -> str:
    """The translation, its words with the endings that the anchor's words have in `spelling`, as far as they fit."""
    names, words, written = canonical(anchor).split(" "), canonical(spelling).split(" "), translation.split(" ")
    if len(names) != len(words) or len(written) != len(names):
        return translation
    return " ".join(map(_with_ending, written, names, words))


def _with_ending(translation: str, name: str, word: str) -> str:
    stem = len(commonprefix((name.lower(), word.lower())))
    dropped, added = name[stem:], word[stem:]
    ends = translation[len(translation) - len(dropped) :].lower()
    if dropped and unicodedata.normalize("NFD", added[:1]) == dropped + _ACUTE:  # Hungarian: Anna, Annát
        lengthened = unicodedata.normalize("NFC", translation + _ACUTE) if ends in _FINAL_VOWELS else translation
        return lengthened + added[1:]
    if ends[-1:] != dropped[-1:].lower() or not _FINAL_VOWELS.issuperset(ends):
        return translation  # it is of another declension
    return translation[: len(translation) - len(dropped)] + added
