"""Passages and parts: where they are cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import BadInput
from tasks.audit.passages import PassageSettings, draw_passages, parts_of
from tasks.measure.scoring import encode


def test_passages_lie_in_their_documents_one_behind_the_other_and_cut_no_word(tokenizer: Any, text: str) -> None:
    documents = ["Too short.", text, text[::-1] + " " + text]
    passages = draw_passages(tokenizer, documents, PassageSettings(count=99, tokens=20, given=8))
    place = dict.fromkeys(range(3), 0)
    assert {passage.document for passage in passages} == {1, 2}
    for passage in passages:
        document = documents[passage.document]
        start = document.index(passage.text, place[passage.document])
        end = place[passage.document] = start + len(passage.text)
        assert start == 0 or document[start - 1].isspace()
        assert end == len(document) or document[end].isspace()
        assert passage.text.split() == passage.prompt.split() + passage.rest.split()
        given_tokens, tokens = (len(one.ids) for one in encode(tokenizer, [passage.prompt, passage.text]))
        assert given_tokens >= 8 and tokens >= 19  # noqa: PT018


def test_passages_are_drawn_by_seed_and_no_more_than_asked_for(tokenizer: Any, text: str) -> None:
    drawn = [
        draw_passages(tokenizer, [text * 3], PassageSettings(count=4, tokens=12, given=4, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(passages) for passages in drawn] == [4, 4, 4]
    with pytest.raises(BadInput, match="No text is 500 tokens long"):
        draw_passages(tokenizer, [text], PassageSettings(count=4, tokens=500, given=4))


@given(st.lists(st.text(alphabet="ab \n", max_size=60), max_size=4), st.integers(1, 20))
def test_parts_put_together_are_the_documents(documents: list[str], characters: int) -> None:
    parts = parts_of(documents, characters)
    assert "".join("".join(parts).split()) == "".join("".join(documents).split())
    assert all(len(part) <= characters for part in parts)
