"""The extractor that needs no language model: on texts made for one rule, on generated ones, on two real novels."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dictionaries.dictionary import Dictionary
from dictionaries.english import noun_class, table
from dictionaries.evidence import WORD, Evidence
from dictionaries.lint import lint, refuse_errors
from dictionaries.pools import Names, pool_names
from dictionaries.statistics import PROPOSED, extract
from storage.errors import BadInput

STORY = """\
The Tale of Mira

In the morning Mira Vance saw the Grimwater. "Good day," said Mira. However, the Tin Porter was late.
Then Mira Vance went to Tessaly with the Tin Porter, and the Vances of Tessaly were glad. She loved Tessaly.
When Mira came to Tessaly, the Tin Porter said that the Grimwater was high. On Monday Mira laughed.
However, MIRA was VERY tired; the Grimwater, the Tin Porter and Mira's dog slept in Tessaly. However, it rained.
Everybody drank plomberry. Plomberry is sweet, and Mira Vance ate plomberries with plomberry juice.
"""
ORDINARY = "The man went to the town with his dog. He saw a porter, and the day was good. However, it rained. " * 50


def anchors(texts: list[str], *reference: str, **settings: int) -> dict[str, tuple[str, str | None]]:
    dictionary = extract(texts, reference, **settings).dictionary
    return {entry.anchor: (entry.translations[0], entry.kind) for entry in dictionary.entries}


def test_names_are_found_and_sentence_openings_headings_and_shouting_are_not():
    found = anchors([STORY] * 3)
    people = {"Mira", "Mira Vance", "Vance", "Vances", "Vances of Tessaly", "Tin Porter"}
    assert set(found) == people | {"Grimwater", "Tessaly"}


def test_a_word_in_small_letters_needs_a_reference_that_does_not_know_it():
    assert "plomberry" in anchors([STORY] * 5, ORDINARY)
    assert "plomberry" not in anchors([STORY] * 5)
    assert "plomberry" not in anchors([STORY] * 5, ORDINARY + " He ate one plomberry.")


def test_a_name_that_the_reference_has_as_often_is_none():
    assert "Tessaly" not in anchors([STORY], "They came to Tessaly. " * 20)


CASTLE = """\
Then the King met the Cat near the Red Gate. "Good day," said the Cat to the King. So Five said to the Cat that the King
ate Soup. The Cat sang of Soup, beautiful Soup; Five said that the Duchess had the Silver Spoons. But the Duchess said
to Five that the Cheshire Cat had the Silver Spoons, and the Cheshire Cat said that the Pale Countess had them.
"""


def test_everyday_words_in_capitals_are_proposed_and_not_used() -> None:
    extraction = extract([CASTLE * 3])
    proposed = {entry.anchor for entry in extraction.proposed.entries}
    used = {entry.anchor for entry in extraction.dictionary.entries}
    assert proposed == {"King", "Soup", "Five"}
    assert used >= {"Cat", "Cheshire Cat", "Duchess", "Silver Spoons"}
    assert {what for what, why in extraction.left_out if why == PROPOSED} == proposed
    assert not used & proposed


def test_an_animal_becomes_an_animal_a_title_a_title_a_thing_a_thing() -> None:
    extraction = extract([CASTLE * 3])
    entries = {e.anchor: e for e in (*extraction.dictionary.entries, *extraction.proposed.entries)}
    assert entries["Cat"].translations[0] in pool_names("animal")
    assert entries["Cheshire Cat"].translations[0].split()[-1] == entries["Cat"].translations[0]
    assert entries["King"].translations[0] in pool_names("lord")
    assert entries["Duchess"].translations[0] in pool_names("lady")
    assert entries["Soup"].kind == entries["Silver Spoons"].kind == "thing"
    assert entries["Soup"].translations[0] in pool_names("thing")
    assert entries["Silver Spoons"].translations[0].split()[-1].removesuffix("s") in pool_names("thing")


@pytest.mark.parametrize(("nouns", "found"), [("Mice Wolves foxes Calf", "animal"), ("Queen Countess", "lady")])
def test_nouns_are_known_in_the_plural(nouns: str, found: str) -> None:
    assert [noun_class(noun) for noun in nouns.split()] == [found] * len(nouns.split())


@pytest.mark.parametrize(
    "text",
    [
        "哈利在霍格沃茨遇见了罗恩。",
        "해리는 호그와트에서 론을 만났다.",
        "ハリーは笑った。",
        "ذهب هاري إلى المدرسة",
        "हैरी ने कहा",
    ],
)
def test_a_script_without_capitals_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(BadInput, match=r'capital letters.*dictionary\.extract = "llm"'):
        extract([text])


def test_names_stay_together():
    found = anchors([STORY] * 3)
    given_name, family = found["Mira Vance"][0].split()
    assert found["Mira"][0] == given_name
    assert found["Vance"][0] == family
    assert found["Vances"][0].startswith(family)


def test_kinds_come_from_what_stands_beside():
    found = anchors([STORY] * 3)
    assert found["Mira"][1] == "person"
    assert found["Tessaly"][1] == "place"
    assert found["Grimwater"][1] == "thing"


def test_titles_stay_in_the_text_and_an_accidental_neighbour_is_no_part_of_a_name():
    text = "There Lord Umbrask met Mr Brill. On Saturday Umbrask slept. So Umbrask said to Brill that Umbrask woke. "
    found = anchors([text * 3])
    assert set(found) == {"Umbrask", "Brill"}


def test_the_most_peculiar_stay_and_the_rest_has_a_reason():
    extraction = extract([STORY] * 3, max_anchors=1)
    assert [entry.anchor for entry in extraction.dictionary.entries] == ["Grimwater"]  # 9 times, before Mira's 6
    assert ("Vance", "beyond max_anchors") in extraction.left_out


def test_an_empty_corpus_has_no_anchors():
    assert extract([]).dictionary == Dictionary(())


names = st.lists(st.sampled_from([f"{a}{b}" for a in "ABDKLM" for b in ("orin", "essa", "ulk", "imble")]), unique=True)


@given(names, st.integers(0, 3))
def test_translations_are_seeded_unique_and_foreign_to_the_target(people, seed):
    rng = random.Random(seed)
    people = people or ["Nobody"]
    met = ([rng.choice(people) for _ in range(3)] for _ in range(40))
    text = " ".join(f"There {first} {second} met the old {third}." for first, second, third in met)
    made = extract([text], seed=seed).dictionary
    assert made == extract([text], seed=seed).dictionary
    translations = [entry.translations[0] for entry in made.entries]
    words = {word.lower() for word in WORD.findall(text)}
    assert len(set(translations)) == len(translations)
    assert not any(word.lower() in words for translation in translations for word in WORD.findall(translation))


def test_pools_never_run_dry_and_never_repeat():
    drawn_from = Names(0)
    for pool in table("pools"):
        many = [drawn_from.draw(pool) for _ in range(len(pool_names(pool)) + 20)]
        assert len(set(many)) == len(many)
    assert Names(0).draw("female") == Names(0).draw("female")
    assert Names(0, lambda name: name < "T").draw("female") >= "T"


def test_a_capital_counts_only_where_nothing_else_explains_it():
    evidence = Evidence(["He saw Oz. Oz was far. Is it \u201cNever\u201d, OZ or oz?\n\nThe Road to Oz\n\nOz"])
    assert (evidence.strong["Oz"], evidence.weak["Never"], evidence.small["oz"]) == (1, 1, 1)
    assert evidence.nameness("Oz") == 0.5


@pytest.fixture(scope="module")
def reference(material):
    return [(material / "corpora" / name).read_text("utf-8") for name in ("tinystories.txt", "wikitext2_valid.txt")]


NOVELS = {
    "01_wonderful_wizard_of_oz.txt": (
        "Dorothy, Scarecrow, Tin Woodman, Woodman, Lion, Cowardly Lion, Oz, Toto, Emerald City, Winkies, Munchkins, "
        "Kansas, Quadlings, Glinda, Aunt Em, Uncle Henry, Winged Monkeys, Golden Cap, Wicked Witch of the West, "
        "Silver Shoes",
        "However, But, The, She, Chapter, North, God, English, There, Gutenberg, Oh",
    ),
    "alice_in_wonderland.txt": (
        "Alice, White Rabbit, March Hare, Hatter, Dormouse, Cheshire Cat, Queen of Hearts, Mock Turtle, Gryphon, "
        "Duchess, Dinah, Caterpillar, Dodo",
        "March, French, English, Majesty, Very, You, Gutenberg, Chapter, Come, King, Queen, Soup, Five",
    ),
}


@pytest.mark.parametrize("book", NOVELS)
def test_a_novel_gives_the_anchors_that_a_reader_would_name(material, reference, book):
    wanted, unwanted = (set(names.split(", ")) for names in NOVELS[book])
    text = (material / "books" / book).read_text("utf-8")
    started = time.process_time()
    dictionary = extract([text], reference).dictionary
    assert time.process_time() - started < 10
    found = {entry.anchor for entry in dictionary.entries}
    assert wanted - found == set()
    assert unwanted & found == set()
    assert len(found) < 70
    refuse_errors(lint(dictionary, [text]))
