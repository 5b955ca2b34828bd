"""What a measurement returns: one value, and the items it was taken from.

A score is whatever its metric averages: a probability, 0 or 1, nats per token. Perplexities and AUC are the
metrics whose value is not the mean of their scores.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from storage.artifact import Json
from storage.shards import write_shard
from tasks.contents import ITEMS, VALUES


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


def write_measures(folder: Path, role: str, step: int | None, measures: Iterable[Measured]) -> dict[str, Json]:
    """Write what was measured of one model as shards. Returns its values by metric and task."""
    values: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for measured in measures:
        who = {"model": role, "step": step, "metric": measured.metric, "task": measured.task}
        values.append(who | {"value": measured.value, "stderr": measured.stderr, "items": measured.count})
        for item in measured.items:
            row = {"item": item.item, "prompt": item.prompt, "expected": item.expected}
            row |= {"completion": item.completion, "score": item.score}
            items.append(who | row | {"details": json.dumps(item.details, ensure_ascii=False)})
    write_shard(folder / ITEMS, items)
    write_shard(folder / VALUES, values)
    return {"items": len(items)} | {
        " ".join(filter(None, (row["metric"], row["task"]))): round(row["value"], 6) for row in values
    }
