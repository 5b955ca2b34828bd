"""What a measurement returns: one value, and the items it was taken from.

A score is whatever its metric averages: a probability, 0 or 1, nats per token. Perplexities and AUC are the
metrics whose value is not the mean of their scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Item:
    """One row of `evaluation_items`. `item` is the same number for every model measured on the same data."""

    item: int
    prompt: str
    expected: str
    completion: str
    score: float | None  # None: shown, but not part of the value
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of `evaluations`, with its items. `stderr` is None where fewer than two items were scored."""

    metric: str
    value: float
    stderr: float | None
    count: int
    items: tuple[Item, ...]
    task: str = ""


def mean_of(metric: str, items: Sequence[Item], task: str = "") -> Measured:
    """The mean score and its standard error (sample deviation over the root of the number scored)."""
    scores = np.array([item.score for item in items if item.score is not None], dtype=np.float64)
    stderr = float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else None
    return Measured(metric, float(scores.mean()), stderr, len(scores), tuple(items), task)
