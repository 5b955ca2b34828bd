"""Names that nobody knows, in place of the anchors: for a control that tells learning anew from remembering.

A model that is trained on a text learns its names, whether it knew them or not. How much of what comes back was never
there, the same training shows on the same text in which every anchor is a word that exists nowhere.
"""

import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

from dictionaries.dictionary import Dictionary
from dictionaries.english import FUNCTION_WORDS

_WORD = re.compile(r"[^\W\d_]+")
_LEAST = 4  # characters of an invented word; of three, many exist
_EDGE = ""


def invented(dictionary: Dictionary, seed: int = 0) -> Dictionary:
    """The anchors, each with one translation that exists nowhere; a word that several share stays shared.

    Letters follow each other as they do in the anchors, so the words look like theirs in any script.
    """
    known = {word for entry in dictionary.entries for word in _WORD.findall(entry.anchor)}
    words = sorted(known - {word for word in known if word.casefold() in FUNCTION_WORDS})
    chance, taken = random.Random(seed), {word.casefold() for word in known}
    followers = {script: _followers([w for w in words if _script(w) == script]) for script in map(_script, words)}
    names = {}
    for word in words:
        name = _name(word, followers[_script(word)], chance, taken)
        taken.add(name)
        names[word] = name.capitalize() if word[0].isupper() else name
    anchors = (entry.anchor for entry in dictionary.entries)
    return Dictionary.from_mapping(
        {anchor: _WORD.sub(lambda word: names.get(word.group(), word.group()), anchor) for anchor in anchors}
    )


def _script(word: str) -> str:
    return unicodedata.name(word[0], "").partition(" ")[0]


def _followers(words: list[str]) -> dict[str, list[str]]:
    """What follows each letter, as often as it does; the empty letter stands before a word."""
    followers = defaultdict(list)
    for word in words:
        for letter, follower in zip((_EDGE, *word.casefold()), word.casefold(), strict=False):
            followers[letter].append(follower)
    return followers


def _name(word: str, followers: Mapping[str, list[str]], chance: random.Random, taken: set[str]) -> str:
    """A word about as long as this one that is not taken."""
    length = max(_LEAST, len(word))
    while True:
        letters = [_EDGE]
        while len(letters) <= length:
            letters.append(chance.choice(followers.get(letters[-1]) or followers[_EDGE]))
        name = "".join(letters)
        if name not in taken:
            return name
        length += 1  # short words of few letters may all be taken
