"""Tokens read from a fast tokenizer's offsets, whatever their convention."""

from tasks.method.tokens import Tokens


def test_a_leading_space_belongs_to_its_token_even_where_offsets_leave_it_out() -> None:
    kept = Tokens.from_offsets([7, 8], [(0, 3), (3, 7)])
    trimmed = Tokens.from_offsets([7, 8], [(0, 3), (4, 7)])
    assert kept == trimmed
    assert kept.edges == [0, 3, 7]


def test_bytes_of_one_character_have_no_edge_between_them() -> None:
    tokens = Tokens.from_offsets([1, 2, 3, 4], [(0, 1), (1, 2), (1, 2), (2, 3)])
    assert tokens.edges == [0, 1, 2, 2, 3]
    assert tokens.clean == [True, True, False, True, True]


def test_a_token_that_ends_one_character_and_goes_on_has_no_edge_before_it() -> None:
    tokens = Tokens.from_offsets([1, 2], [(0, 2), (1, 4)])
    assert tokens.edges == [0, 2, 4]
    assert tokens.clean == [True, False, True]


def test_added_special_tokens_stand_for_no_text_wherever_they_are() -> None:
    tokens = Tokens.from_offsets([1, 5, 2], [(0, 0), (0, 4), (0, 0)], [1, 0, 1])
    assert tokens.edges == [0, 0, 4, 4]
    assert all(tokens.clean)
    assert tokens.special == [True, False, True]


def test_a_block_keeps_the_documents_characters() -> None:
    tokens = Tokens.from_offsets([1, 2, 3], [(0, 2), (2, 5), (5, 6)])
    assert tokens.block(1, 3) == Tokens([2, 3], [2, 5, 6], [True, True, True], [False, False])


def test_the_tokens_after_a_character_are_none_where_one_lies_across_it() -> None:
    tokens = Tokens.from_offsets([1, 2, 3], [(0, 2), (2, 5), (5, 6)])
    assert tokens.after(2) == Tokens([2, 3], [0, 3, 4], [True, True, True], [False, False])
    assert tokens.after(3) is None
