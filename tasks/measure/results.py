"""The results: every measure of every model with its interval, and every change against baseline and gold.

A change is paired: both models answered the same items. Two intervals that overlap say little about a change; the
paired interval says it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from storage.reader import rows
from tasks.measure.intervals import Change, Form, Value, paired, value_of, wilson
from tasks.measure.verdict import name_of

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
class Measure:
    """One row of the table by step."""

    metric: str
    task: str
    values: Mapping[str, Value]
    """By the model's key, in the order of the models."""
    changes: Mapping[tuple[str, str], Change]
    """By (model, reference)."""

    @property
    def kind(self) -> str:
        """familiarity (lower is better), perplexity (lower), ability (higher), other (not judged)."""
        names = {"perplexity": "perplexity", "accuracy": "ability"}
        return "familiarity" if self.metric.startswith("familiarity") else names.get(self.metric, "other")

    @property
    def name(self) -> str:
        """The measure for a person."""
        return name_of(self.metric, self.task)

    @property
    def share(self) -> bool:
        """Whether values are shares, shown in percent. The paper's score of judged completions reaches 5."""
        return self.kind in ("familiarity", "ability") and self.metric != "familiarity_judged"

    def row(self) -> dict[str, Any]:
        """As it stands in the evidence: values and changes each with the names of their models."""
        return {
            "metric": self.metric,
            "task": self.task,
            "values": [value_row(key, value) for key, value in self.values.items()],
            "changes": [
                {"subject": subject, "against": against} | asdict(change)
                for (subject, against), change in self.changes.items()
            ],
            "name": self.name,
            "kind": self.kind,
        }


def value_row(subject: str, value: Value) -> dict[str, Any]:
    """A value as it stands in the evidence."""
    return {"subject": subject, "value": value.value, "low": value.low, "high": value.high, "count": value.count}


def measured(
    connection: Any,
    folders: Sequence[tuple[str, Path]],
    against: Callable[[Subject], Sequence[str]] = lambda subject: ("baseline", "gold"),
) -> tuple[list[Subject], list[Measure]]:
    """Models in the order baseline, students by step, others, gold; measures in the order in which they were made.

    `against`: the models that a model is compared with.
    """
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
    by_place = {(row["metric"], row["task"], row["key"]): row for row in values}
    return models, [_measure(connection, models, name, by_place, against) for name in names]


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
    by_place: dict[Any, Any],
    against: Callable[[Subject], Sequence[str]],
) -> Measure:
    metric, task = name
    measured_on = [model for model in models if (metric, task, model.key) in by_place]
    scores = {
        model.key: rows(connection, SCORES, [model.items, metric, task, model.role, model.step])
        for model in measured_on
    }
    values = {
        key: _value(metric, by_place[metric, task, key], [item["score"] for item in items])
        for key, items in scores.items()
    }
    changes = {
        (model.key, other): change(scores[other], scores[model.key], metric == "perplexity")
        for model in measured_on
        for other in against(model)
        if model.key not in ("baseline", other) and other in scores
    }
    return Measure(metric, task, values, {pair: change for pair, change in changes.items() if change})


def _value(metric: str, row: dict[str, Any], scores: list[float]) -> Value:
    value: float = row["value"]
    form: Form = "mean"
    if metric == "perplexity":
        form = "perplexity"
    elif scores and 0 <= value <= 1 and min(scores) >= 0 and max(scores) <= 1:
        form = "share"
    return value_of(form, value, row["stderr"], row["items"])


def change(before: list[dict[str, Any]], after: list[dict[str, Any]], perplexity: bool) -> Change | None:
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
    afterwards = np.array([news[item["item"]] for item in both]) * weights
    resamples = min(10_000, max(1_000, DRAWN // len(both)))
    absolute = paired(olds.tolist(), afterwards.tolist(), resamples=resamples)
    if not perplexity:
        return widened(absolute)
    difference, low, high = map(math.expm1, (absolute.difference, absolute.low, absolute.high))
    return Change(difference, low, high, absolute.count)


def widened(change: Change) -> Change:
    """A bootstrap of items that all changed alike has no width, however few they are; Wilson's interval has."""
    size = abs(change.difference)
    if change.high - change.low > 1e-12 or size > 1:
        return change
    low, high = wilson(size * change.count, change.count)
    if size == 0:
        return Change(0.0, -high, high, change.count)
    low, high = (low, high) if change.difference > 0 else (-high, -low)
    return Change(change.difference, low, high, change.count)
