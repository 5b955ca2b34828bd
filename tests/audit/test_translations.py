"""Traces of the method: translations that a prompt does not hold."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dictionaries.dictionary import Dictionary
from tasks.audit import translations
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.scoring import encode
from tasks.measure.verdict import Verdict

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


def test_a_truth_ratio_sets_the_text_s_own_expression_against_its_translations(
    model: Any, tokenizer: Any, text: str
) -> None:
    prompt = text[:30]
    prompts = [Prompt(prompt), Prompt(prompt, (" Castle Marrow",), (" Old Castle", " tower"))]
    (measured,) = translations.truth_ratio(LoadedModel(model, tokenizer), prompts)
    before = len(encode(tokenizer, [prompt])[0].ids)

    def mean(continuation: str) -> float:
        ids = encode(tokenizer, [prompt + continuation])[0].ids
        with torch.no_grad():
            log_TV = model.eval()(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        return sum(float(log_TV[t - 1][ids[t]]) for t in range(before, len(ids))) / (len(ids) - before)

    ratio = math.exp((mean(" Old Castle") + mean(" tower")) / 2 - mean(" Castle Marrow"))
    (item,) = measured.items
    assert (item.item, item.expected) == (1, " Castle Marrow")
    assert item.details["ratio"] == pytest.approx(ratio, rel=1e-4)
    assert measured.value == pytest.approx(1 / (1 + ratio), rel=1e-4)
    assert translations.truth_ratio(LoadedModel(model, tokenizer), prompts[:1]) == []


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
