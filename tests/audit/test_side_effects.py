"""Side effects: perplexity on text near the target."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.audit.side_effects import near_perplexity
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.measure.suite import Suite
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


def test_side_effects_are_the_perplexity_of_neighbouring_text(model: Any, tokenizer: Any, text: str) -> None:
    measured = near_perplexity(LoadedModel(model, tokenizer), [text], Suite())
    assert measured.metric == "neighbour_perplexity"
    assert measured.value == perplexity(LoadedModel(model, tokenizer), [text]).value
    assert near_perplexity(LoadedModel(model, tokenizer), [text], Suite(window=16, windows=3)).count == 3


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"student": 10.2, "baseline": 10.0, "gold": 9.9}, "kept"),
        ({"student": 9.0, "baseline": 10.0}, "kept"),
        ({"student": 10.5, "baseline": 10.0}, "harmed"),
        ({"student": 10.5}, "alone"),
    ],
)
def test_side_effects_are_a_rise_of_perplexity(
    judged: Callable[..., Verdict], rows: Callable[..., Rows], values: dict[str, float], status: str
) -> None:
    assert judged(rows("neighbour_perplexity", **values), "side-effects").status == status
