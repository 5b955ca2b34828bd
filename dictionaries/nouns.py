"""What everyday nouns name that stories write as names: the Cat is an animal, the King has a title.

Only singular forms are listed; plurals are recognised here, the few irregular ones by their own line.
"""

import tomllib
from functools import cache
from importlib import resources

_IRREGULAR = {
    "mice": "mouse",
    "dormice": "dormouse",
    "geese": "goose",
    "oxen": "ox",
    "wolves": "wolf",
    "calves": "calf",
}


def noun_class(word: str) -> str | None:
    """ "animal", "lady", "lord" or "role" for a noun of the lists, in any case, also in the plural; else None."""
    return next((found for form in _singulars(word.lower()) if (found := _classes().get(form))), None)


def names_nobody(word: str) -> bool:
    """Whether a word, in any case, may stand in any story for anybody: a number, or a title that every land has."""
    return word.lower() in _lists()["anybody"]["nouns"].split()


def _singulars(word: str) -> tuple[str, ...]:
    forms = (word, _IRREGULAR.get(word, ""), word.removesuffix("s"), word.removesuffix("es"))
    man = word.removesuffix("men") + "man" if word.endswith("men") else ""
    return (*forms, word.removesuffix("ies") + "y" if word.endswith("ies") else "", man)


@cache
def _classes() -> dict[str, str]:
    """Noun -> class; a noun of two lists is of the first."""
    classes = [name for name in _lists() if name != "anybody"]
    return {noun: name for name in reversed(classes) for noun in _lists()[name]["nouns"].split()}


@cache
def _lists() -> dict[str, dict[str, str]]:
    return tomllib.loads(resources.files("dictionaries").joinpath("nouns.toml").read_text("utf-8"))
