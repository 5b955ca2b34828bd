"""Invented names: nobody's, consistent, in the form of the place."""

from dictionaries.dictionary import Dictionary
from dictionaries.invented import invented
from dictionaries.matching import Matcher

NAMES = Dictionary.from_mapping(
    {"Harry Potter": "x", "Harry": "x", "Hermione": "x", "Chamber of Secrets": "x", "wand": "x", "해리": "x", "O": "x"}
)


def test_no_invented_name_is_an_anchor_and_words_that_anchors_share_stay_shared() -> None:
    names = {entry.anchor: entry.translations[0] for entry in invented(NAMES).entries}
    assert names["Harry Potter"].split()[0] == names["Harry"]
    assert names["Chamber of Secrets"].split()[1] == "of"
    assert names["Hermione"][0].isupper()
    assert names["wand"].islower()
    assert len(set(names.values())) == len(names)
    assert not {word for name in names.values() for word in name.split()} & {"Harry", "Potter", "Hermione", "wand", "O"}
    assert len(names["Hermione"]) == len("Hermione")
    assert set(names["해리"]) <= set("해리"), "in letters of its own script"


def test_the_seed_decides() -> None:
    assert invented(NAMES, 1) == invented(NAMES, 1)
    assert [e.translations for e in invented(NAMES, 1).entries] != [e.translations for e in invented(NAMES, 2).entries]


def test_a_text_is_rewritten_in_the_form_of_each_place() -> None:
    chosen = [entry.translations[0] for entry in invented(NAMES).entries]
    by_anchor = dict(zip([entry.anchor for entry in NAMES.entries], chosen, strict=True))
    text = Matcher(NAMES).rewrite("HARRY POTTER saw Hermione's wands, and a chamber of secrets.", chosen)
    assert text.startswith(by_anchor["Harry Potter"].upper() + " saw " + by_anchor["Hermione"] + "'s ")
    assert text.endswith(by_anchor["Chamber of Secrets"].lower() + ".")
    assert not Matcher(NAMES).find(text)


def test_few_letters_are_enough() -> None:
    anchors = Dictionary.from_mapping(dict.fromkeys(("a", "aa", "aaa", "aaaa"), "x"))
    assert len({entry.translations for entry in invented(anchors).entries}) == 4
