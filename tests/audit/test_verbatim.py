"""Verbatim continuation: a model that knows a text by heart against one that does not; overlaps by their definition."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.audit.passages import PassageSettings, draw_passages
from tasks.audit.verbatim import continued, longest_run, rouge_l, words_of
from tasks.measure.loaded import LoadedModel
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


def test_a_model_that_knows_the_text_goes_on_with_it(model: Any, reciter: Any, tokenizer: Any, text: str) -> None:
    passages = draw_passages(tokenizer, [text], PassageSettings(count=4, tokens=32, given=16))
    values = {}
    for name, one in (("random", model), ("reciter", reciter)):
        overlap, run = continued(LoadedModel(one, tokenizer), passages, new_tokens=16)
        values[name] = overlap.value, run.value
        assert [item.details["document"] for item in run.items] == [0] * len(passages)
    assert values["random"][0] < 0.2 < 0.8 < values["reciter"][0]
    assert values["random"][1] < 1 < 4 < values["reciter"][1]


def common_subsequence(one: list[str], other: list[str]) -> int:
    """By the definition: leave out the first word of either side."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + common_subsequence(one[1:], other[1:])
    return max(common_subsequence(one[1:], other), common_subsequence(one, other[1:]))


@given(WORDS, WORDS)
def test_rouge_l_is_the_longest_common_subsequence_as_f1(truth: list[str], said: list[str]) -> None:
    length = common_subsequence(truth, said)
    expected = 2 * length / (len(truth) + len(said)) if length else 0.0
    assert rouge_l(truth, said) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_the_longest_run_is_the_longest_stretch_in_both(truth: list[str], said: list[str]) -> None:
    def stretches(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i:j]) for i in range(len(words)) for j in range(i, len(words) + 1)}

    run = tuple(longest_run(truth, said))
    common = stretches(truth) & stretches(said)
    assert run == () or run in common
    assert len(run) == max((len(stretch) for stretch in common), default=0)


def test_words_have_no_case_and_no_punctuation() -> None:
    assert words_of('"Where is Tamsin?" asked he.') == ["where", "is", "tamsin", "asked", "he"]


def test_gold_is_the_reference_and_a_control_where_there_is_none(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    target = rows("verbatim_rouge_l", "target", student=0.4, baseline=0.5)
    runs = rows("verbatim_run", "target", student=7, baseline=11)
    gold = rows("verbatim_rouge_l", "target", gold=0.2)
    control = rows("verbatim_rouge_l", "control", student=0.39, baseline=0.2)
    with_gold = judged(target + runs + gold + control, "verbatim")
    assert with_gold.status == "most"
    assert "40.0 % (baseline 50.0 %, gold 20.0 %)" in with_gold.sentence
    assert "67 % of what separates the baseline from gold" in with_gold.sentence
    assert "in words: 7.00 (baseline 11.00)" in with_gold.sentence
    without = judged(target + runs + control, "verbatim")
    assert without.status == "nothing"
    assert "text never read 39.0 %" in without.sentence
    alone = judged(target + runs, "verbatim")
    assert (alone.status, alone.tone) == ("alone", "unknown")
