"""Hand-made blocks for what a tokenizer and a text can do to an anchor."""

import re
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Match, Matcher
from tasks.method.tokens import Tokens
from tasks.method.translation import Block, Encode, meaning_start, translate_block


class Toy:
    """A tokenizer by regular expression; ids are handed out as pieces come."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self.pieces = re.compile(pattern), list[str]()

    def read(self, text: str) -> Tokens:
        found = list(self._pattern.finditer(text))
        self.pieces += [p.group() for p in found if p.group() not in self.pieces]
        return Tokens.from_offsets([self.pieces.index(p.group()) for p in found], [p.span() for p in found])

    def words(self, ids: list[int]) -> list[str]:
        return [self.pieces[i] for i in ids]


def translate(toy: Toy, text: str, dictionary: dict[str, str]) -> Block:
    known = Dictionary.from_mapping(dictionary)
    choose = [entry.translations[0] for entry in known.entries].__getitem__
    return translate_block(toy.read(text), text, Matcher(known).find(text), choose, lambda left, text: toy.read(text))


def test_a_token_that_straddles_the_anchors_end_keeps_what_follows() -> None:
    toy = Toy(r" ?[\w']+|\W")
    block = translate(toy, "at Harry's house", {"Harry": "Jon"})
    assert toy.words(block.translated_ids) == ["at", " Jon's", " house"]
    assert block.mapping == [0, 1, 2]
    assert block.reasons == [None, None, "end of block"]
    assert sorted(toy.words(block.forbidden_ids)) == [" Jon", " Jon's", "Jon"]


def test_a_token_that_straddles_the_anchors_start_keeps_what_precedes() -> None:
    toy = Toy(r' ?\(?"?\w+|\W')
    block = translate(toy, 'see ("Harry") go', {"Harry": "Jon"})
    assert toy.words(block.translated_ids) == ["see", ' ("Jon', '"', ")", " go"]


def test_anchors_that_share_a_token_give_way_together() -> None:
    toy = Toy(r" ?[\w-]+|\W")
    block = translate(toy, "the Harry-Ron pact by Ron .", {"Harry": "Jon", "Ron": "Tom"})
    assert toy.words(block.translated_ids) == ["the", " Jon-Tom", " pact", " by", " Tom", " ", "."]
    assert block.mapping == [0, 1, 2, 3, 4, 5, 6]
    assert block.reasons[3] == "repeated anchor"
    assert [occurrence.position for occurrence in block.occurrences] == [1, 1, 4]


def test_the_last_token_of_an_inner_anchor_has_no_partner() -> None:
    toy = Toy(r" ?Har|ry-Ro|n| ?\w+|\W")
    block = translate(toy, "so Harry-Ron ran off", {"Harry": "Jon", "Ron": "Tom"})
    assert toy.words(block.original_ids) == ["so", " Har", "ry-Ro", "n", " ran", " off"]
    assert block.reasons == [None, "inside an anchor", "unaligned tokenisation", None, None, "end of block"]
    assert block.mapping[1:3] == [-1, -1]
    assert block.mapping[3] == block.translated_ids.index(toy.pieces.index("Tom"))


def test_an_anchor_may_span_a_line_break() -> None:
    toy = Toy(r" ?\w+|\W")
    block = translate(toy, "drank Felix\nFelicis again", {"Felix Felicis": "Fortune Elixir"})
    assert toy.words(block.translated_ids) == ["drank", " Fortune", " Elixir", " again"]
    assert block.reasons == [None, "inside an anchor", "inside an anchor", None, "end of block"]


def test_a_space_in_a_token_of_its_own_goes_with_the_anchor() -> None:
    toy = Toy(r" Tom|\w+|\W")
    block = translate(toy, "saw Ron and Ron", {"Ron": "Tom"})
    assert toy.words(block.translated_ids) == ["saw", " Tom", " ", "and", " Tom"]
    assert block.reasons[:4] == [None, "inside an anchor", None, None]
    assert block.reasons[4] == "repeated anchor"  # the position before the space predicts the anchor
    assert [occurrence.position for occurrence in block.occurrences] == [1, 5]


def test_a_repeated_anchor_right_after_another_stops_the_last_token_of_that_one() -> None:
    toy = Toy(r" ?\w+|\W")
    block = translate(toy, "Ron Harry Ron Harry end", {"Harry": "Jon", "Ron": "Tom"})
    assert block.reasons == [None, "repeated anchor", "repeated anchor", None, "end of block"]
    assert block.mapping == [0, 1, 2, 3, 4]


def test_an_anchor_at_the_start_and_one_at_the_end() -> None:
    toy = Toy(r" ?\w+|\W")
    block = translate(toy, "Ron saw Ron", {"Ron": "Tom"})
    assert block.reasons == [None, "repeated anchor", "end of block"]


def test_special_tokens_stay_and_do_not_train() -> None:
    toy = Toy(r" ?\w+|\W")
    plain = toy.read("Ron ran")
    tokens = Tokens.from_offsets([900, *plain.ids, 901], [(0, 0), (0, 3), (3, 7), (0, 0)], [1, 0, 0, 1])
    block = translate_block(tokens, "Ron ran", [Match(0, 3, 0)], lambda _: "Tom", lambda _, text: toy.read(text))
    assert [block.translated_ids[0], block.translated_ids[-1]] == [900, 901]
    assert block.mapping == [0, 1, 2, 3]
    assert block.reasons == ["special token", None, None, "special token"]


def test_a_block_without_anchors_is_itself() -> None:
    toy = Toy(r" ?\w+|\W")
    block = translate(toy, "nobody here", {"Ron": "Tom"})
    assert block.translated_ids == block.original_ids
    assert block.reasons == [None, "end of block"]
    assert block.forbidden_ids == block.occurrences == []


def test_an_empty_block_is_empty() -> None:
    block = translate(Toy(r"\w+"), "", {"Ron": "Tom"})
    assert block.translated_ids == block.reasons == []


def test_a_translation_is_chosen_once_a_block() -> None:
    toy = Toy(r" ?\w+|\W")
    text, draws = "Ron and Ron and Ron", iter(["Tom", "Bob", "Sam"])
    matches = [Match(0, 3, 0), Match(8, 11, 0), Match(16, 19, 0)]
    block = translate_block(toy.read(text), text, matches, lambda _: next(draws), lambda _, text: toy.read(text))
    assert toy.words(block.translated_ids) == ["Tom", " and", " Tom", " and", " Tom"]


def test_an_anchor_whose_character_the_block_cuts_in_two_stays() -> None:
    text = "Zoé ran"
    tokens = Tokens.from_offsets([1, 2, 3, 4], [(0, 2), (2, 3), (2, 3), (3, 7)])
    toy = Toy(r" ?\w+|\W")

    def translated(first: int, end: int) -> list[int]:
        matches = [Match(0, 3, 0)] if first == 0 else []
        block = tokens.block(first, end)
        return translate_block(block, text, matches, lambda _: "Mia", lambda _, text: toy.read(text)).translated_ids

    assert translated(0, 2) == [1, 2]
    assert translated(2, 4) == [3, 4]
    assert translated(0, 4) == [toy.pieces.index("Mia"), 4]


def test_an_anchor_takes_along_the_start_of_a_character_that_its_first_token_ends() -> None:
    text = "x\u201dRon ran"
    tokens = Tokens.from_offsets([1, 2, 3, 4], [(0, 1), (1, 2), (1, 5), (5, 9)])  # 2 and 3 share the quote
    toy = Toy(r"\u201d?\w+| \w+")
    block = translate_block(tokens, text, [Match(2, 5, 0)], lambda _: "Tom", lambda _, text: toy.read(text))
    assert block.translated_ids == [1, toy.pieces.index("\u201dTom"), 4]
    assert block.reasons == [None, "inside an anchor", None, "end of block"]


def test_a_special_token_is_never_replaced_whatever_its_text() -> None:
    text = "a <Ron> Ron"
    tokens = Tokens.from_offsets([1, 900, 2], [(0, 2), (2, 7), (7, 11)], [0, 1, 0])
    toy = Toy(r" ?\w+")
    matches = [Match(3, 6, 0), Match(8, 11, 0)]
    block = translate_block(tokens, text, matches, lambda _: "Tom", lambda _, text: toy.read(text))
    assert block.translated_ids == [1, 900, toy.pieces.index(" Tom")]
    assert [occurrence.position for occurrence in block.occurrences] == [2]


def test_a_translation_that_the_tokenizer_cannot_write_is_named() -> None:
    toy = Toy(r" ?[a-z]+")
    with pytest.raises(ValueError, match="'RON'"):
        translate_block(toy.read("ron"), "ron", [Match(0, 3, 0)], lambda _: "RON", lambda _, text: toy.read(text))


@pytest.mark.parametrize(
    ("translation", "start"),
    [
        ("Tom", 0),
        ("The Elixir", 4),
        ("the house of the wolf", 4),
        ("The Who", 0),
        ("Of Mice", 3),
        ("'The' End", 6),
    ],
)
def test_a_translation_means_something_from_its_first_word_that_is_no_function_word(
    translation: str, start: int
) -> None:
    assert meaning_start(translation) == start


def test_a_lone_space_or_byte_is_never_forbidden(
    sentencepiece: Tokenizer, read: Callable[[Tokenizer, str], Tokens], encoder: Callable[[Tokenizer], Encode]
) -> None:
    text = "Ron saw Hogwarts and met Hedwig ."
    known = Dictionary.from_mapping({"Ron": "Jon", "Hogwarts": "Ñandu Hall", "Hedwig": "哈"})
    block = translate_block(
        read(sentencepiece, text),
        text,
        Matcher(known).find(text),
        [entry.translations[0] for entry in known.entries].__getitem__,
        encoder(sentencepiece),
    )
    pieces = [sentencepiece.id_to_token(token) for token in block.translated_ids]
    assert pieces[:3] == ["▁", "J", "on"]
    assert "<0x93>" in pieces
    forbidden = {sentencepiece.id_to_token(token) for token in block.forbidden_ids}
    assert "J" in forbidden
    assert "▁" not in forbidden
    assert not {piece for piece in forbidden if piece.startswith("<0x")}
    rows = dict(zip(block.forbidden_ids, block.forbidden_from, strict=True))
    assert rows[sentencepiece.token_to_id("J")] == 2  # "J" is translated token 1, also at a document's start
