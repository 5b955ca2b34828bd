"""What kind of thing an extracted expression names, and a neutral translation that keeps its shape.

Translations are made word by word from one map, so that "Dorothy Gale" and "Gale", or
"Winkie" and "Winkies", stay together. A drawn word is never a word of the target, hence never an anchor or part of one.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from dictionaries.english import is_common, is_function_word, names_nobody, noun_class, word_set
from dictionaries.pools import Names

FORMAL_TITLES = word_set("Mr Mrs Ms Miss Dr Doctor Professor Sir Madam Lord Lady Captain Colonel General Major")
_AUNTS = word_set("Aunt Auntie Grandma Grandmother Mother Sister Nurse")
_UNCLES = word_set("Uncle Grandpa Grandfather Father Brother")
_TITLES = FORMAL_TITLES | _AUNTS | _UNCLES
_SHE = _AUNTS | word_set("Mrs Ms Miss Lady Madam")
_HE = _UNCLES | word_set("Mr Sir Lord")
_PLACES = word_set(
    "Alley Avenue Bay Bridge Castle Cave Church City Cottage Country County Desert Farm Field Forest Garden Gate Gates "
    "Hall Harbour Hill Hills House Inn Island Islands Isle Kingdom Lake Land Lands Lane Manor Mountain Mountains Ocean "
    "Palace Park River Road Room School Sea Shop Square Station Street Temple Tor Tower Town Valley Village Wood Woods"
)

_PLURAL_POOLS = ("people", "thing", "term", "animal", "role", "lord", "lady")

Span = tuple[str, ...]


class Namer:
    """Kinds and translations for all expressions of one extraction."""

    def __init__(self, beside: Mapping[Span, Counter[str]], known: Callable[[str], bool], seed: int) -> None:
        """`beside`: what stood beside each expression (the features of evidence.py, and "uses").

        `known` says whether the target has a word; no such word is drawn.
        """
        self._seen = {span: Counter(features) for span, features in beside.items()}
        for span, features in beside.items():  # what is true of the Mock Turtle is true of the Turtle
            head = _head(span)[-1:]
            if len(span) > 1 and head in self._seen:
                self._seen[head] += features
        self._all_words = {word for span in beside for word in span}
        self._names = Names(seed, known)
        self._words: dict[str, str] = {}
        ordered = sorted(self._seen, key=lambda span: (len(span), -self._seen[span]["uses"], span))
        self.translations = {span: self._translate(span) for span in ordered}

    def as_thing(self, span: Span) -> str | None:
        """One more name of a thing, where an everyday word names nobody and never speaks; else None."""
        names_thing = _is_thing(span[-1]) and not names_nobody(span[-1]) and not self._seen[span]["speech"]
        return self._names.draw("thing") if names_thing else None

    def kind(self, span: Span) -> str:
        """person, place, thing or term, by its own words first and by its neighbours else."""
        beside = self._seen[span]
        uses = max(1, beside["uses"])
        if span[0].islower():
            return "term"
        head = _head(span)[-1:]
        if head[0] in _PLACES:
            return "place"
        if len(span) > 1 and _is_thing(head[0]):
            return "thing"
        if span[0] in _TITLES or noun_class(head[0]) or beside["speech"] >= max(2, 0.06 * uses) or self._is_group(span):
            return "person"
        if head != span and head in self._seen:
            return self.kind(head)
        if beside["into"] >= max(2, 0.1 * uses):
            return "place"
        if self._has_article(span):
            return "thing"
        return "place" if beside["into"] + beside["toward"] >= max(3, 0.4 * uses) else "person"

    def _has_article(self, span: Span) -> bool:
        return self._seen[span]["article"] >= 0.4 * max(1, self._seen[span]["uses"])

    def _is_group(self, span: Span) -> bool:
        """Several people under one name, or one of them: the Winkies, a Winkie."""
        if len(span) > 1:
            return False
        several = self._seen[span]["plural"] > 0 and self._has_article(span)
        return (
            (_looks_plural(span[0]) and several)
            or _singular(span[0]) in self._all_words
            or f"{span[0]}s" in self._all_words
        )

    def _is_family(self, span: Span) -> bool:
        """Gale, after Dorothy Gale: the last word of a full name."""
        return any(
            full[-1:] == span and self._is_full_name(full) and full[0] not in _TITLES
            for full in self._seen
            if len(full) > 1
        )

    def _is_modifier(self, span: Span) -> bool:
        """Cheshire, which only stands before Cat."""
        return any(len(full) > 1 and full[:1] == span and noun_class(_head(full)[-1]) for full in self._seen)

    def _is_full_name(self, span: Span) -> bool:
        named = self.kind(span) == "person" and not self._has_article(span) and _head(span) == span
        return named and not noun_class(span[-1])

    def _translate(self, span: Span) -> str:
        if len(span) == 1:
            name = self._word(span[0], self._pool(span))
            return name.lower() if span[0].islower() else name
        if self._is_full_name(span):
            return self._full_name(span)
        head = len(_head(span)) - 1
        pool = noun_class(span[head]) or {"person": "role", "place": "site"}.get(self.kind(span), "thing")
        pools = ["modifier"] * len(span)
        pools[head] = pool
        if head < len(span) - 1:
            pools[-1] = "region"
        return " ".join(self._word(word, pool) for word, pool in zip(span, pools, strict=True))

    def _full_name(self, span: Span) -> str:
        pools = [self._given(span)] * (len(span) - 1) + ["family"]
        if len(span) == 2 and span[0] in _TITLES - FORMAL_TITLES:
            pools[1] = self._given(span)
        return " ".join(self._word(word, pool) for word, pool in zip(span, pools, strict=True))

    def _word(self, word: str, pool: str) -> str:
        """The one translation of a word; function words and titles that are no anchors themselves stay."""
        if is_function_word(word) or (word in _TITLES and (word,) not in self._seen):
            return word
        possessive = word[-2:] if word.endswith(("'s", "\u2019s")) else ""
        word = word.removesuffix(possessive)
        stem = _singular(word) if _singular(word) in self._all_words else word
        if stem not in self._words:
            self._words[stem] = self._names.draw(pool)
        name = self._words[stem]
        grouped = stem != word or (pool in _PLURAL_POOLS and _looks_plural(word))
        return (_plural(name) if grouped else name) + possessive

    def _pool(self, span: Span) -> str:
        kind, named = self.kind(span), noun_class(span[0])
        if named and kind == "person":
            return named
        if kind == "person" and self._is_group(span):
            return "people"
        if kind != "person" and self._is_modifier(span):
            return "modifier"
        if kind == "person":
            return "role" if self._has_article(span) else "family" if self._is_family(span) else self._given(span)
        return "site" if kind == "place" and self._has_article(span) else kind

    def _given(self, span: Span) -> str:
        if span[0] in _SHE:
            return "female"
        if span[0] in _HE:
            return "male"
        she, he = self._seen[span]["she"], self._seen[span]["he"]
        return "female" if she > 1.5 * he else "male" if he > 1.5 * she else "neutral"


def _head(span: Span) -> Span:
    """The words before the first small one: Wicked Witch (of the West)."""
    small = next((index for index, word in enumerate(span) if is_function_word(word)), len(span))
    return span[:small] or span


def _is_thing(word: str) -> bool:
    """An everyday noun that names no person: Cap, Shoes."""
    return is_common(word) and not noun_class(word) and word not in _TITLES and word not in _PLACES


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else ""


def _looks_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


def _plural(name: str) -> str:
    if name.endswith("man"):
        return f"{name[:-3]}men"
    return name if name.endswith(("folk", "s")) else f"{name}s"
