"""The screen without a control: the text's names against names that nobody knows."""

from collections.abc import Callable
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary
from tasks.audit.common import familiarity, with_invented_names
from tasks.audit.screen import METRIC
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
WORDS = Dictionary.from_mapping({"Castle Marrow": "Old Castle", "Ottoline Vex": "Anna Miller", "Tamsin Reed": "Clara"})


def test_a_model_that_knows_the_text_finds_its_names_likelier_than_invented_ones(
    reciter: Any, model: Any, tokenizer: Any, text: str
) -> None:
    names = ("Castle Marrow", "Tamsin Reed")
    prompts = [Prompt(text[: text.index(name) - 1], (f" {name}",)) for name in names]
    _, unknown = with_invented_names((), prompts, WORDS, seed=0)
    assert not [name for name in WORDS.entries for prompt in unknown if name.anchor in prompt.prompt]
    assert not {prompt.idiosyncratic for prompt in prompts} & {prompt.idiosyncratic for prompt in unknown}
    values = {
        (name, task): familiarity(LoadedModel(loaded, tokenizer), asked, METRIC, task).value
        for name, loaded in (("reciter", reciter), ("stranger", model))
        for task, asked in (("own names", prompts), ("invented names", unknown))
    }
    assert values["reciter", "own names"] > 0.5 > values["reciter", "invented names"]
    assert values["stranger", "own names"] == pytest.approx(values["stranger", "invented names"], abs=0.05)


@pytest.mark.parametrize(
    ("own", "invented", "status"),
    [
        ({"student": 0.6, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "most"),
        ({"student": 0.2, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "some"),
        ({"student": 0.11, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "nothing"),
        ({"student": 0.01, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "avoided"),
        ({"student": 0.1, "baseline": 0.11}, {"student": 0.1, "baseline": 0.1}, "blind"),
        ({"student": 0.1}, {"student": 0.1}, "alone"),
    ],
)
def test_the_baseline_with_invented_names_stands_for_who_never_read_the_text(
    judged: Callable[..., Verdict],
    rows: Callable[..., Rows],
    own: dict[str, float],
    invented: dict[str, float],
    status: str,
) -> None:
    asked = [
        *rows("screened_familiarity", "own names", **own),
        *rows("screened_familiarity", "invented names", **invented),
    ]
    verdict = judged(asked, "screen")
    assert verdict.status == status
    assert "It cannot show what a model that never read the text would score" in verdict.sentence
