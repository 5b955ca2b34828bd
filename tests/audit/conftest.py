"""A model that knows a text by heart; rows as attacks leave them, and the verdict on them."""

from collections.abc import Callable
from typing import Any

import pytest

from tasks.audit.relearning import RelearningSettings, finetuned
from tasks.audit.summary import values_of, verdicts
from tasks.measure.loaded import LoadedModel
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def reciter(model: Any, tokenizer: Any, text: str) -> Any:
    """A model that knows the text by heart, from wherever one begins."""
    starts = [0, *(place + 1 for place, char in enumerate(text[:-60]) if char.isspace())]
    suffixes = [text[start:] for start in starts[::2]]
    how = RelearningSettings(steps=(120,), learning_rate=1e-2, batch=8, length=64)
    *_, (_, learner) = finetuned(LoadedModel(model, tokenizer), suffixes, how)
    return learner.eval()


@pytest.fixture
def rows() -> Callable[..., Rows]:
    """Rows of `evaluations`: one a model, named as in the table."""

    def make(metric: str, task: str = "", stderr: float = 0.001, **values: float) -> Rows:
        measure = {"step": None, "metric": metric, "task": task, "stderr": stderr, "items": 100}
        return [measure | {"model": model, "value": value} for model, value in values.items()]

    return make


@pytest.fixture
def judged() -> Callable[[Rows, str], Verdict]:
    """The verdict on an attack that left these rows."""

    def judge(rows: Rows, attack: str) -> Verdict:
        (verdict,) = [verdict for verdict in verdicts(values_of(rows)) if verdict.about == attack]
        return verdict

    return judge
