"""The matcher against a slow reference that tries every place and every anchor."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dictionaries.dictionary import Dictionary, canonical
from dictionaries.matching import Matcher
from dictionaries.spelling import varies


def found(anchors: list[str], text: str, start: int = 0, end: int | None = None) -> list[str]:
    dictionary = Dictionary.from_mapping(dict.fromkeys(anchors, "t"))
    matches = Matcher(dictionary).find(text, start, end)
    for match in matches:
        assert canonical(text[match.start : match.end]) == canonical(dictionary.entries[match.entry].anchor)
    return [text[match.start : match.end] for match in matches]


def is_letter(char: str) -> bool:
    return char.isalnum() or "\u0300" <= char <= "\u036f"


def is_spelling(piece: str, anchor: str) -> bool:
    """The anchor itself; in several words, also with hyphens for spaces."""
    pairs = list(zip(canonical(piece), anchor, strict=False))
    alike = all(a == b or (varies(anchor) and {a, b} == {" ", "-"}) for a, b in pairs)
    return alike and len(pairs) == len(canonical(piece)) == len(anchor)


def slow_find(anchors: list[str], text: str, start: int, end: int) -> list[tuple[int, int, str]]:
    """Every place from the left, every end from the right."""
    wanted = sorted(map(canonical, anchors))
    results, at = [], start
    while at < end:
        for stop in range(end, at, -1):
            piece = text[at:stop]
            cut_left = at > 0 and is_letter(piece[0]) and is_letter(text[at - 1])
            cut_right = stop < len(text) and is_letter(piece[-1]) and is_letter(text[stop])
            bare = not piece[0].isspace() and not piece[-1].isspace()
            spelled = [anchor for anchor in wanted if is_spelling(piece, anchor)]
            if bare and spelled and not cut_left and not cut_right:
                results.append((at, stop, canonical(piece) if canonical(piece) in spelled else spelled[0]))
                at = stop - 1
                break
        at += 1
    return results


alphabet = "aab -'\u2019.\n_\u0301"
spans = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


@settings(max_examples=400)
@given(
    st.lists(st.text(alphabet, min_size=1, max_size=5), min_size=1, max_size=6),
    st.text(alphabet, max_size=40),
    spans,
)
def test_it_equals_the_slow_reference(anchors, text, span):
    anchors = list({canonical(anchor): anchor for anchor in anchors if canonical(anchor)}.values())
    dictionary = Dictionary.from_mapping(dict.fromkeys(anchors, "t"))
    start, end = min(span[0], len(text)), min(span[1], len(text))
    fast = [
        (match.start, match.end, canonical(dictionary.entries[match.entry].anchor))
        for match in Matcher(dictionary).find(text, start, end)
    ]
    slow = slow_find(anchors, text, start, end)
    assert fast == [(at, stop, canonical(anchor)) for at, stop, anchor in slow]


def test_the_longest_wins_and_nothing_overlaps():
    anchors = ["Tin", "Tin Woodman", "Woodman"]
    assert found(anchors, "Tin Woodman, Tin, Woodman") == ["Tin Woodman", "Tin", "Woodman"]


def test_only_whole_words_match():
    assert found(["Al", "mum", "Oz"], "Also mummy Ozma _Oz_ Oz's Al.") == ["Oz", "Oz", "Al"]


def test_a_decomposed_accent_belongs_to_its_word():
    assert found(["Jose"], "Jose\u0301 and Jose") == ["Jose"]


def test_a_line_break_stands_for_a_space_and_a_curly_apostrophe_for_a_straight_one():
    assert found(["Aunt Em's house"], "Aunt\n  Em\u2019s\thouse") == ["Aunt\n  Em\u2019s\thouse"]


def test_one_word_is_found_in_its_own_capitals():
    assert found(["Oz", "Woodman", "witch"], "oz OZ Oz. The woodman WOODMAN. Witch.") == ["Oz"]


@pytest.mark.parametrize(("start", "end"), [(0, 4), (4, 7), (4, None), (0, 12), (7, 12)])
def test_a_limit_inside_a_word_leaves_no_half_word_to_match(start, end):
    assert found(["Wood", "man", "oodma"], "Woodman Woodman", start, end) == []
    assert len(found(["Woodman"], "Woodman Woodman", start, end)) == (start == 0 and end == 12) + (end is None)


def test_when_the_limit_cuts_a_long_anchor_the_shorter_one_inside_it_counts():
    assert found(["Tin", "Tin Woodman"], "Tin Woodman", 0, 7) == ["Tin"]


def test_an_empty_dictionary_finds_nothing():
    assert Matcher(Dictionary(())).find("Oz") == []


def test_anchors_nested_hundreds_deep_compile():
    anchors = ["a" * length for length in range(1, 600)]
    assert found(anchors, "a" * 599 + " aaa") == ["a" * 599, "aaa"]
