"""Everyday English words: no anchor is made of one alone, unless the text itself writes it as a name.

The file lists base forms and irregular ones; plurals and endings are recognised here.
"""

import re
from functools import cache
from importlib import resources

from dictionaries.function_words import FUNCTION_WORDS

_ENDINGS = ("ly", "ness", "less", "ful", "ers", "er", "est", "ing", "ings", "ed", "es", "s")
_CONTRACTION = re.compile(r"(n't|'(s|t|d|m|ll|re|ve))$")
_UNDOUBLED = {f"{letter}{letter}" for letter in "bdglmnprt"}


@cache
def common_words() -> frozenset[str]:
    """The list, with the function words, lower case."""
    listed = resources.files("dictionaries").joinpath("common_words.txt").read_text("utf-8").split()
    return FUNCTION_WORDS.union(listed)


def is_common(word: str) -> bool:
    """Whether a word, in any case, is an everyday one or an ordinary form of one ("hurried", "stopping", "boxes")."""
    word = word.lower().replace("\u2019", "'").removesuffix("'s")
    return any(form in common_words() for form in base_forms(word))


def base_forms(word: str) -> set[str]:
    """The word and what it may be made from by English endings; most of these are no words at all."""
    forms = {word, _CONTRACTION.sub("", word), word.removesuffix("'t")}  # can't is can and 't, don't is do and n't
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 3:
            continue
        forms.add(stem)
        if stem.endswith("i"):
            forms.add(stem[:-1] + "y")
        if ending[0] in "ei":
            forms |= {stem + "e", stem[:-1] if stem[-2:] in _UNDOUBLED else stem}
    return forms
