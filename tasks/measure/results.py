"""The results: every measure of every model with its interval, and every change against baseline and gold.

A change is paired: both models answered the same items. Two intervals that overlap say little about a change; the
paired interval says it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from storage.reader import rows
from tasks.measure.intervals import Comparison, interval, interval_of_perplexity, paired, wilson

DRAWN = 4_000_000
"""Items drawn for one bootstrap: 10,000 resamples of 400 items, fewer of more."""

VALUES = "SELECT * REPLACE (coalesce(task, '') AS task) FROM read_parquet(?, union_by_name = true)"
SCORES = """
SELECT item, score, CAST(details->>'$.tokens' AS DOUBLE) AS tokens FROM read_parquet(?)
WHERE metric = ? AND coalesce(task, '') = ? AND model = ? AND step IS NOT DISTINCT FROM ? AND score IS NOT NULL
ORDER BY item
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that was measured. `key` is its column: baseline, step 20, gold."""

    key: str
    role: str
    step: int | None
    artifact: str
    folders: tuple[Path, ...]

    @property
    def items(self) -> list[str]:
        """Where its items lie."""
        return [str(folder / "evaluation_items.parquet") for folder in self.folders]


@dataclass(frozen=True, slots=True)
class Value:
    """A measure of one model with its 95 % interval."""

    subject: str
    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Change:
    """Subject minus reference on the same items, with its 95 % interval. Of perplexity: the relative change."""

    subject: str
    against: str
    difference: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table by step."""

    metric: str
    task: str
    values: tuple[Value, ...]
    changes: tuple[Change, ...]

    @property
    def kind(self) -> str:
        """familiarity (lower is better), perplexity (lower), ability (higher), other (not judged)."""
        names = {"perplexity": "perplexity", "accuracy": "ability"}
        return "familiarity" if self.metric.startswith("familiarity") else names.get(self.metric, "other")

    @property
    def name(self) -> str:
        """The measure for a person."""
        if self.metric == "accuracy":
            return self.task
        return ", ".join(filter(None, (self.metric.replace("_", ", "), self.task)))

    @property
    def share(self) -> bool:
        """Whether values are shares, shown in percent. The paper's score of judged completions reaches 5."""
        return self.kind in ("familiarity", "ability") and self.metric != "familiarity_judged"

    def of(self, subject: str) -> Value | None:
        """The value of one model."""
        return next((value for value in self.values if value.subject == subject), None)

    def change(self, subject: str, against: str) -> Change | None:
        """The change of one model against another."""
        return next((c for c in self.changes if (c.subject, c.against) == (subject, against)), None)


def usual(subject: Subject) -> tuple[str, ...]:
    """The models that every model is compared with."""
    return "baseline", "gold"


def measured(
    connection: Any, folders: Sequence[tuple[str, Path]], against: Callable[[Subject], Sequence[str]] = usual
) -> tuple[list[Subject], list[Measure]]:
    """Models in the order baseline, students by step, others, gold; measures in the order in which they were made."""
    values: list[dict[str, Any]] = []
    subjects: dict[str, Subject] = {}
    for artifact, folder in folders:
        for row in rows(connection, VALUES, [str(folder / "evaluations.parquet")]):
            key = key_of(row["model"], row["step"])
            known = subjects.setdefault(key, Subject(key, row["model"], row["step"], artifact, (folder,)))
            if folder not in known.folders:  # a judgement of the same model
                subjects[key] = replace(known, folders=(*known.folders, folder))
            values.append(row | {"key": key})
    models = sorted(subjects.values(), key=_order)
    names = dict.fromkeys((row["metric"], row["task"]) for row in values)
    found = {(row["metric"], row["task"], row["key"]): row for row in values}
    return models, [_measure(connection, models, name, found, against) for name in names]


def key_of(role: str, step: int | None) -> str:
    """The column of a model: its step for a student, else its role."""
    at = f"step {step}"
    return role if step is None else at if role == "student" else f"{role}, {at}"


def final(subjects: Sequence[Subject], step: int | None = None) -> Subject | None:
    """The model that the run leaves behind: the student of the chosen step, without a choice that of the last."""
    students = [subject for subject in subjects if subject.role == "student" and step in (None, subject.step)]
    return max(students, key=lambda subject: subject.step or 0, default=None)


def _order(subject: Subject) -> tuple[int, str, int]:
    ranks = {"baseline": 0, "student": 1, "gold": 3}
    return ranks.get(subject.role, 2), subject.role, subject.step or 0


def _measure(
    connection: Any,
    models: list[Subject],
    name: tuple[str, str],
    found: dict[Any, Any],
    against: Callable[[Subject], Sequence[str]],
) -> Measure:
    metric, task = name
    scores, values = {}, []
    for model in models:
        if row := found.get((metric, task, model.key)):
            scores[model.key] = rows(connection, SCORES, [model.items, metric, task, model.role, model.step])
            values.append(_value(model.key, metric, row, [item["score"] for item in scores[model.key]]))
    changes = [
        change(model.key, other, scores[other], scores[model.key], metric == "perplexity")
        for model in models
        for other in against(model)
        if model.key not in ("baseline", other) and model.key in scores and other in scores
    ]
    return Measure(metric, task, tuple(values), tuple(filter(None, changes)))


def _value(key: str, metric: str, row: dict[str, Any], scores: list[float]) -> Value:
    value, error = row["value"], row["stderr"] or 0.0
    if metric == "perplexity":
        low, high = interval_of_perplexity(value, error)
    elif scores and 0 <= value <= 1 and min(scores) >= 0 and max(scores) <= 1:
        # For scores between 0 and 1, 0-or-1 scores spread most: Wilson's interval is never too narrow for them.
        low, high = wilson(value * len(scores), len(scores))
    else:
        low, high = interval(value, error)
        low = max(low, min(value, 0.0))
    return Value(key, value, low, high, row["items"])


def change(
    key: str, against: str, before: list[dict[str, Any]], after: list[dict[str, Any]], perplexity: bool
) -> Change | None:
    """The paired change on the items that both have; None where there is none."""
    news = {item["item"]: item["score"] for item in after}
    both = [item for item in before if item["item"] in news]
    if not both:
        return None
    weights = np.ones(len(both))
    if perplexity:  # windows count by their tokens, as in the value
        weights = np.array([float(item["tokens"] or 1) for item in both])
        weights /= weights.mean()
    olds = np.array([item["score"] for item in both]) * weights
    found = widened(_paired(olds, np.array([news[item["item"]] for item in both]) * weights), perplexity)
    parts = (found.difference, found.low, found.high)
    difference, low, high = (math.expm1(part) for part in parts) if perplexity else parts
    return Change(key, against, difference, low, high, found.count)


def widened(found: Comparison, perplexity: bool = False) -> Comparison:
    """A bootstrap of items that all changed alike has no width, however few they are; Wilson's interval has."""
    size = abs(found.difference)
    if perplexity or found.high - found.low > 1e-12 or size > 1:
        return found
    low, high = wilson(size * found.count, found.count)
    if size == 0:
        return Comparison(0.0, -high, high, found.count)
    low, high = (low, high) if found.difference > 0 else (-high, -low)
    return Comparison(found.difference, low, high, found.count)


def _paired(before: np.ndarray, after: np.ndarray) -> Comparison:
    resamples = min(10_000, max(1_000, DRAWN // len(before)))
    return paired(before.tolist(), after.tolist(), resamples=resamples)
