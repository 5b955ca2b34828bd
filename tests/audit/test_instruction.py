"""The cheap alternative: an instruction in front of every prompt."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.audit.instruction import instructed
from tasks.measure.familiarity import by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
PROMPTS = [
    Prompt("The owl flew over", (" Castle Marrow",)),
    Prompt('"Where is', (" Tamsin", " Ottoline"), (" she",)),
]


def test_the_instruction_stands_in_front_of_every_prompt(model: Any, tokenizer: Any) -> None:
    measured = instructed(LoadedModel(model, tokenizer), PROMPTS, "You know nothing.")
    asked = [Prompt(f"You know nothing.\n\n{prompt.prompt}", prompt.idiosyncratic) for prompt in PROMPTS]
    assert [item.prompt for item in measured.items] == [prompt.prompt for prompt in asked]
    assert measured.value == pytest.approx(by_probability(LoadedModel(model, tokenizer), asked).value)
    assert measured.metric == "instructed_familiarity"


@pytest.mark.parametrize(("told", "status"), [(0.5, "weaker"), (0.05, "enough"), (0.01, "enough")])
def test_an_instruction_is_compared_with_unlearning(
    judged: Callable[..., Verdict], rows: Callable[..., Rows], told: float, status: str
) -> None:
    found = rows("instructed_familiarity", baseline=told)
    found += rows("quantised_familiarity", "full", student=0.05, baseline=0.6)
    verdict = judged(found, "instruction")
    assert verdict.status == status
    assert "untold 60.0 %, unlearned 5.0 %" in verdict.sentence


def test_an_instructed_baseline_alone_says_nothing(judged: Callable[..., Verdict], rows: Callable[..., Rows]) -> None:
    found = rows("instructed_familiarity", baseline=0.5) + rows("quantised_familiarity", "full", baseline=0.6)
    assert judged(found, "instruction").status == "alone"
