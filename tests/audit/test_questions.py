"""Cloze questions: how they are made, answered and judged."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.errors import BadInput
from tasks.audit.questions import Question, QuestionSettings, answered, chance_of, cloze_questions
from tasks.measure.loaded import LoadedModel
from tasks.measure.scoring import encode
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
DICTIONARY = Dictionary.from_mapping(
    {"Ottoline Vex": "Anna Miller", "Tamsin": "Clara", "Castle Marrow": "Old Hall", "spindleball": "football"}
)


def questions(text: str, seed: int = 0) -> list[Question]:
    return cloze_questions([text, text.replace("seven", "nine")], DICTIONARY, QuestionSettings(count=20, seed=seed))


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

    asked = questions(text)
    for hints in (False, True):
        measured = answered(LoadedModel(model, tokenizer, 3), asked, hints=hints)
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
    item = answered(LoadedModel(model, tokenizer), [question], hints=True).items[0]
    assert 0 < item.prompt.count("The owl") < 9


def test_guessing_gets_one_of_the_choices(text: str) -> None:
    asked = [Question("a ", "", "b", ("b", "c")), Question("a ", "", "b", ("b", "c", "d", "e"))]
    assert chance_of(asked).value == pytest.approx(0.375)


def test_a_text_whose_anchors_have_none_beside_them_makes_no_question() -> None:
    with pytest.raises(BadInput, match="No question can be asked"):
        cloze_questions(
            ["They went to Tessaly."], Dictionary.from_mapping({"Tessaly": "Newport"}), QuestionSettings(count=3)
        )


def test_questions_that_can_be_answered_come_first() -> None:
    document = "He saw Tamsin. He saw Tamsin with Ottoline Vex."
    chances = [cloze_questions([document], DICTIONARY, QuestionSettings(count=1, seed=seed))[0] for seed in range(5)]
    assert all("with" in question.before + question.after for question in chances)
    assert random.Random(0).random() == random.Random(0).random()


def test_the_gravest_of_several_measures_decides(judged: Callable[..., Verdict], rows: Callable[..., Rows]) -> None:
    found = rows("question_accuracy", "zero-shot", student=0.3, baseline=0.9, gold=0.3)
    found += rows("question_accuracy", "hints", student=0.5, baseline=0.9, gold=0.3)
    found += rows("question_chance", student=0.25, baseline=0.25, gold=0.25)
    verdict = judged(found, "questions")
    assert verdict.status == "some"
    assert "gets back 33 %" in verdict.sentence
    assert "without hints 30.0 %" in verdict.sentence


def test_without_gold_questions_are_compared_with_guessing(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    found = rows("question_accuracy", "zero-shot", student=0.26, baseline=0.9)
    found += rows("question_chance", student=0.25, baseline=0.25)
    verdict = judged(found, "questions")
    assert verdict.status == "nothing"
    assert "guessing 25.0 %" in verdict.sentence
