"""English is matched as before other languages were: every occurrence in the demo's world and in real books."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.languages import language_of
from dictionaries.matching import Matcher
from dictionaries.merging import Vote, merge
from tasks.demo.world import make_world

BOOKS = ("01_wonderful_wizard_of_oz.txt", "alice_in_wonderland.txt")
OZ = (
    "Aunt Em|Cowardly Lion|Dorothy|Emerald City|Glinda|Golden Cap|Kansas|Lion|Munchkin|Munchkins|Oz|Quadlings|"
    "Scarecrow|Silver Shoes|Tin Woodman|Toto|Uncle Henry|Wicked Witch of the West|Winged Monkeys|Winkies|"
    "Witch of the North|Woodman"
)


def digest(dictionary: Dictionary, texts: Iterable[str]) -> tuple[int, str]:
    """How many matches, and the hash of their places and anchors."""
    matcher, number, lines = Matcher(dictionary), 0, hashlib.sha256()
    for text in texts:
        for match in matcher.find(text):
            assert match.form is None
            lines.update(f"{match.start} {match.end} {dictionary.entries[match.entry].anchor}\n".encode())
            number += 1
        lines.update(b"--\n")
    return number, lines.hexdigest()[:16]


def test_the_demo_s_world() -> None:
    world = make_world(0)
    assert digest(world.dictionary, [*world.target.values(), *world.generic]) == (2378, "ce6194df970bec6a")


def test_the_real_dictionary_on_real_books(material: Path, real_votes: list[Vote]) -> None:
    books = [(material / "books" / name).read_text("utf-8") for name in BOOKS]
    every = Dictionary(tuple(Entry(anchor, ("t",)) for anchor in sorted({vote.anchor for vote in real_votes})))
    for dictionary in (merge(real_votes)[0], every):
        found = [digest(dictionary, [book]) for book in books]
        assert found == [(164, "48b62ab4da32b152"), (64, "7cafdf4d27183b86")]


def test_the_book_s_own_names_in_the_book(material: Path) -> None:
    own = Dictionary.from_mapping(dict.fromkeys(OZ.split("|"), "t"))
    assert digest(own, [(material / "books" / BOOKS[0]).read_text("utf-8")]) == (1513, "0e1d4f7ddfeafa35")


def test_no_sentence_of_an_english_book_is_taken_for_a_language_with_endings(material: Path) -> None:
    for name in BOOKS:
        sentences = re.split(r"(?<=[.!?])\s+", (material / "books" / name).read_text("utf-8"))
        assert len(sentences) > 900
        assert {language_of(sentence) for sentence in sentences} == {None}
