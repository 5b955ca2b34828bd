"""Traces of the method: translations that a prompt does not hold."""

from collections.abc import Callable
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary
from tasks.audit import translations
from tasks.audit.common import LoadedModel
from tasks.audit.verdicts import Verdict
from tasks.measure.prompts import Prompt

Rows = list[dict[str, Any]]


def test_a_translation_counts_where_the_prompt_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Dictionary.from_mapping({"Hogwarts": ["Mystic Academy", "Old School"], "Ron": "Tom", "Fred": "Tom"})
    prompts = ["He went to", "Tom went to", "He went to", "To"]
    said = [" Mystic Academy with Tom.", " Tom.", " Hogwarts.", "mfoolery and Tommy."]
    monkeypatch.setattr("tasks.measure.familiarity.complete", lambda *args, **options: said)
    measured = translations.translations_said(LoadedModel(None, None), [Prompt(text) for text in prompts], words)
    assert [item.score for item in measured.items] == [1, 0, 0, 0]
    assert measured.value == 0.25
    assert measured.items[0].details == {"translations": {"Mystic Academy": ["Hogwarts"], "Tom": ["Fred", "Ron"]}}


@pytest.mark.parametrize(
    ("values", "stderr", "status"),
    [
        ({"student": 0.5, "baseline": 0.1, "gold": 0.1}, 0.01, "marked"),
        ({"student": 0.5, "baseline": 0.1, "gold": 0.45}, 0.05, "unsure"),
        ({"student": 0.46, "baseline": 0.1, "gold": 0.45}, 0.01, "natural"),
        ({"student": 0.5, "baseline": 0.1}, 0.01, "marked"),
        ({"student": 0.5}, 0.01, "alone"),
        ({"baseline": 0.5}, 0.01, "alone"),
    ],
)
def test_translations_mark_a_model_that_says_them_more_than_the_reference(
    judged: Callable[..., Verdict], rows: Callable[..., Rows], values: dict[str, float], stderr: float, status: str
) -> None:
    assert judged(rows("translation_share", stderr=stderr, **values), "translations").status == status
