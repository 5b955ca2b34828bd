"""Passages, questions and words: what an audit asks, held against the texts that it was cut from."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.errors import BadInput
from tasks.audit.passages import draw_passages, parts_of
from tasks.audit.questions import Question, answered, chance_of, cloze_questions
from tasks.audit.verbatim import longest_run, rouge_l, words_of
from tasks.measure.scoring import encode

WORDS = st.lists(st.sampled_from("abcd"), max_size=8)
DICTIONARY = Dictionary.from_mapping(
    {"Ottoline Vex": "Anna Miller", "Tamsin": "Clara", "Castle Marrow": "Old Hall", "spindleball": "football"}
)


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


def test_passages_lie_in_their_documents_one_behind_the_other_and_cut_no_word(tokenizer: Any, text: str) -> None:
    documents = ["Too short.", text, text[::-1] + " " + text]
    passages = draw_passages(tokenizer, documents, 99, tokens=20, given=8)
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
    drawn = [draw_passages(tokenizer, [text * 3], 4, tokens=12, given=4, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(passages) for passages in drawn] == [4, 4, 4]
    with pytest.raises(BadInput, match="No text is 500 tokens long"):
        draw_passages(tokenizer, [text], 4, tokens=500, given=4)


@given(st.lists(st.text(alphabet="ab \n", max_size=60), max_size=4), st.integers(1, 20))
def test_parts_put_together_are_the_documents(documents: list[str], characters: int) -> None:
    parts = parts_of(documents, characters)
    assert "".join("".join(parts).split()) == "".join("".join(documents).split())
    assert all(len(part) <= characters for part in parts)


def questions(text: str, seed: int = 0) -> list[Question]:
    return cloze_questions([text, text.replace("seven", "nine")], DICTIONARY, 20, seed=seed)


def test_a_question_is_a_sentence_without_its_answer_and_choices_of_its_kind(text: str) -> None:
    flat = " ".join((text + text.replace("seven", "nine")).split())
    found = questions(text)
    assert found
    for question in found:
        assert question.before + question.answer + question.after in flat
        assert question.answer in question.choices
        assert len(set(question.choices)) == len(question.choices) > 1
        assert {choice[0].isupper() for choice in question.choices} == {question.answer[0].isupper()}
        named = question.before + question.after
        assert not any(choice in named for choice in question.choices)
    assert found == questions(text)
    assert found != questions(text, seed=1)


def test_no_hint_names_the_answer_and_hints_share_the_question_s_anchors(text: str) -> None:
    matcher = Matcher(DICTIONARY)
    hinted = [question for question in questions(text) if question.hints]
    assert hinted
    for question in hinted:
        for hint in question.hints:
            assert question.answer not in hint
            assert matcher.find(hint)


def test_the_answer_is_the_choice_with_the_most_probable_sentence(model: Any, tokenizer: Any, text: str) -> None:
    import torch

    asked = questions(text)
    for hints in (False, True):
        measured = answered(model, tokenizer, asked, hints=hints, batch_size=3)
        for question, item in zip(asked, measured.items, strict=True):
            front = item.prompt.removesuffix("___" + question.after)
            assert front.endswith(question.before)
            assert (len(front) > len(question.before)) == (hints and bool(question.hints))
            sums = {}
            for choice in question.choices:
                ids = torch.tensor([encode(tokenizer, [front + choice + question.after])[0].ids])
                with torch.no_grad():
                    sums[choice] = -float(model.eval()(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            assert item.completion == max(sums, key=sums.__getitem__)
            assert item.score == float(item.completion == question.answer)
        assert measured.value == sum(item.score or 0 for item in measured.items) / len(asked)


def test_hints_that_the_context_cannot_hold_are_left_out(model: Any, tokenizer: Any, text: str) -> None:
    long = tuple("The owl of Castle Marrow said nothing to the little girl." for _ in range(9))
    question = Question("She saw ", " there.", "Tamsin", ("Tamsin", "Ottoline Vex"), long)
    item = answered(model, tokenizer, [question], hints=True).items[0]
    assert 0 < item.prompt.count("The owl") < 9


def test_guessing_gets_one_of_the_choices(text: str) -> None:
    asked = [Question("a ", "", "b", ("b", "c")), Question("a ", "", "b", ("b", "c", "d", "e"))]
    assert chance_of(asked).value == pytest.approx(0.375)


def test_a_text_whose_anchors_have_none_beside_them_makes_no_question() -> None:
    with pytest.raises(BadInput, match="No question can be asked"):
        cloze_questions(["They went to Tessaly."], Dictionary.from_mapping({"Tessaly": "Newport"}), 3)


def test_questions_that_can_be_answered_come_first() -> None:
    document = "He saw Tamsin. He saw Tamsin with Ottoline Vex."
    chances = [cloze_questions([document], DICTIONARY, 1, seed=seed)[0] for seed in range(5)]
    assert all("with" in question.before + question.after for question in chances)
    assert random.Random(0).random() == random.Random(0).random()
