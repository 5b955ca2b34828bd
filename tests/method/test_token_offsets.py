"""Tokens read from a fast tokenizer's offsets, whatever their convention."""

import copy
from typing import Any

import pytest
from tokenizers.processors import ByteLevel

from storage.errors import BadInput
from tasks.method.tokens import Tokens, cut_blocks


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


def test_an_opened_block_begins_with_what_opens_a_text_and_keeps_its_characters() -> None:
    tokens = Tokens.from_offsets([1, 5, 6, 7, 2], [(0, 0), (0, 2), (2, 5), (2, 5), (0, 0)], [1, 0, 0, 0, 1])
    assert tokens.opening == 1
    assert tokens.opened(1, 2) == Tokens([1, 5], [0, 0, 2], [True, True, True], [True, False])
    assert tokens.opened(2, 9) == Tokens([1, 6, 7, 2], [2, 2, 5, 5, 5], [True, True, False, True, True], [1, 0, 0, 1])
    assert tokens.opened(3, 5).clean[:2] == [False, False]  # begins within a character


@pytest.mark.parametrize("opened", [False, True])
def test_every_block_is_opened_as_a_text_is(tokenizer: Any, opened: bool) -> None:
    text = "One day? the owl, " * 9
    tokenizer = copy.deepcopy(tokenizer)
    if not opened:
        tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
    whole, ids = tokenizer(text, add_special_tokens=False).input_ids, tokenizer(text).input_ids
    blocks = [tokens for _, _, tokens in cut_blocks(tokenizer, [text], 8)]
    assert len(blocks) > 3
    bos = [tokenizer.bos_token_id] * opened
    assert {tuple(block.ids[: len(bos)]) for block in blocks} == {tuple(bos)}
    assert bos + [id for block in blocks for id in block.ids[len(bos) :]] == ids
    assert [len(block.ids) for block in blocks[:-1]] == [8] * (len(blocks) - 1)
    written = [text[block.edges[0] : block.edges[-1]] for block in blocks]
    assert "".join(written) == text
    assert ids[len(bos) : len(bos) + len(whole)] == whole


def test_blocks_without_room_for_text_are_refused(tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="longer than the 1 tokens that open a text, found length 1"):
        list(cut_blocks(tokenizer, ["the owl"], 1))
