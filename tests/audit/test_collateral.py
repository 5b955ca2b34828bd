"""Collateral: what is missed of other questions' answers, and names where they do not belong."""

from collections.abc import Callable
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary
from tasks.audit.asked import Question
from tasks.audit.collateral import misplaced, missed
from tasks.measure.loaded import LoadedModel
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


def test_the_form_with_the_least_probable_right_answer_counts(reciter: Any, tokenizer: Any, text: str) -> None:
    known, strange = text[: text.index("park") - 1], "Ottoline Vex is also a ship. A ship sails on"
    questions = [Question(about="other", forms=(known, strange), answers=(" park",))]
    measured = missed(LoadedModel(reciter, tokenizer), questions, "other")
    assert measured.items[0].prompt == strange
    alone = [question.model_copy(update={"forms": (known,)}) for question in questions]
    assert missed(LoadedModel(reciter, tokenizer), alone, "other").value < 0.5 < measured.value
    assert measured.task == "other"


def test_a_name_is_misplaced_where_no_form_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Dictionary.from_mapping({"Hogwarts": "Mystic Academy", "Ron": "Tom"})
    said = [" the Shire.", " Mystic Academy.", " Ron.", " Hogwarts and Tommy."]
    monkeypatch.setattr("tasks.measure.familiarity.complete", lambda *args, **options: said)
    questions = [
        Question(about="neighbour", forms=("Frodo lives in", "Frodo wohnt in"), answers=("the Shire",)),
        Question(about="other", forms=("My cat Ron is called",), answers=("Ron",)),
        Question(about="other", forms=("A school in Hogwarts is called",), answers=("a school",)),
    ]
    measured = misplaced(LoadedModel(None, None), questions, words, 8, "other")
    assert [item.score for item in measured.items] == [1, 0, 0]
    assert (measured.items[0].prompt, measured.items[0].details) == ("Frodo wohnt in", {"names": ["Mystic Academy"]})


@pytest.mark.parametrize(
    ("missed_share", "misplaced_share", "status"),
    [
        ({"student": 0.3, "baseline": 0.3}, {"student": 0.0, "baseline": 0.0}, "kept"),
        ({"student": 0.5, "baseline": 0.3}, {"student": 0.0, "baseline": 0.0}, "harmed"),
        ({"student": 0.3, "baseline": 0.3}, {"student": 0.2, "baseline": 0.0}, "harmed"),
        ({"student": 0.3}, {"student": 0.2}, "alone"),
    ],
)
def test_more_than_the_baseline_is_harm(
    judged: Callable[..., Verdict],
    rows: Callable[..., Rows],
    missed_share: dict[str, float],
    misplaced_share: dict[str, float],
    status: str,
) -> None:
    asked = rows("answer_missed", "other", **missed_share) + rows("misplaced_share", "other", **misplaced_share)
    assert judged(asked, "collateral").status == status
