"""English words: those that carry grammar, everyday ones, and what everyday nouns name that stories write as names.

The lists are data that a person can read and change. They decide which tokens are forbidden (METHOD.md) and which
anchors are found in any capitals, so a library's would change labels with its next release (wordfreq, the one with
frequencies, has had none since 2023). Base forms are listed, and irregular ones; endings are recognised here.
"""

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

_ENDINGS = ("ly", "ness", "less", "ful", "ers", "er", "est", "ing", "ings", "ed", "es", "s")
_CONTRACTION = re.compile(r"(n't|'(s|t|d|m|ll|re|ve))$")
_UNDOUBLED = {f"{letter}{letter}" for letter in "bdglmnprt"}
_PLURALS = {"mice": "mouse", "geese": "goose", "oxen": "ox", "wolves": "wolf", "calves": "calf", "dormice": "dormouse"}


def word_set(words: str) -> frozenset[str]:
    """Words between spaces as a set."""
    return frozenset(words.split())


@cache
def listed(name: str) -> frozenset[str]:
    """The words of a file beside this one."""
    return word_set(resources.files("dictionaries").joinpath(f"{name}.txt").read_text("utf-8"))


@cache
def table(name: str) -> dict[str, dict[str, Any]]:
    """A TOML file beside this one."""
    return tomllib.loads(resources.files("dictionaries").joinpath(f"{name}.toml").read_text("utf-8"))


FUNCTION_WORDS = listed("function_words")
"""A translation's first token is not forbidden for them. Ask with whole words, not with tokens."""


def is_function_word(word: str) -> bool:
    """Whether the word, in any case, carries no meaning of its own."""
    return word.lower() in FUNCTION_WORDS


@cache
def common_words() -> frozenset[str]:
    """Everyday words, with the function words, lower case: no anchor is made of one alone, unless the text says so."""
    return FUNCTION_WORDS | listed("common_words")


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


def noun_class(word: str) -> str | None:
    """ "animal", "lady", "lord" or "role" for a noun of the lists, in any case, also in the plural; else None."""
    return next((classes for form in _singulars(word.lower()) if (classes := _classes().get(form))), None)


def names_nobody(word: str) -> bool:
    """Whether a word, in any case, may stand in any story for anybody: a number, or a title that every land has."""
    return word.lower() in table("nouns")["anybody"]["nouns"].split()


def _singulars(word: str) -> tuple[str, ...]:
    forms = (word, _PLURALS.get(word, ""), word.removesuffix("s"), word.removesuffix("es"))
    man = word.removesuffix("men") + "man" if word.endswith("men") else ""
    return (*forms, word.removesuffix("ies") + "y" if word.endswith("ies") else "", man)


@cache
def _classes() -> dict[str, str]:
    """Noun -> class; a noun of two lists is of the first."""
    lists = {name: of["nouns"].split() for name, of in table("nouns").items() if name != "anybody"}
    return {noun: name for name in reversed(lists) for noun in lists[name]}
