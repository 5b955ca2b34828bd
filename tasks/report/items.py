"""The items behind the numbers, side by side: the same prompt before, after every kept step, and for gold.

Only a few items of each measure are put on the page; the ones that speak most against the result come first.
"""

import json
from collections.abc import Sequence
from typing import Any

from storage.reader import Row, rows
from tasks.drawing.texts import PROMPT_CHARACTERS, TEXT_CHARACTERS, middle, tail
from tasks.measure.results import Measure, Subject

SHOWN = 25
"""Items of a measure on the page."""
EXAMPLES = 6
NEXT_TOKENS = 3
TOP = 5
"""Next tokens of a prompt."""

# Familiarity: what the student still shows first, then what it showed before. Abilities: what was lost first.
ORDER = """
SELECT item FROM read_parquet($after) a LEFT JOIN
    (SELECT item, score AS before FROM read_parquet($before) WHERE metric = $metric AND coalesce(task, '') = $task
     AND model = $old AND step IS NOT DISTINCT FROM $old_step) b USING (item)
WHERE metric = $metric AND coalesce(task, '') = $task AND model = $new AND step IS NOT DISTINCT FROM $new_step
ORDER BY CASE $kind WHEN 'familiarity' THEN -score WHEN 'perplexity' THEN coalesce(before, score) - score
         ELSE score - coalesce(before, score) END NULLS LAST, before DESC NULLS LAST, item LIMIT $limit
"""
ITEMS = """
SELECT item, prompt, expected, completion, score, details FROM read_parquet(?)
WHERE metric = ? AND coalesce(task, '') = ? AND model = ? AND step IS NOT DISTINCT FROM ? AND list_contains(?, item)
"""


def exhibits(connection: Any, measures: Sequence[Measure], models: Sequence[Subject], student: Subject) -> list[Row]:
    """Per measure the items shown and how many there are: {name, kind, total, items: [{item, prompt, answers}]}."""
    shown = []
    for measure in measures:
        value = measure.values.get(student.key)
        if value is None:
            continue
        order = _order(connection, measure, models[0], student, SHOWN)
        items = _items(connection, measure, models, order)
        names: Row = {"name": measure.name, "kind": measure.kind, "metric": measure.metric, "task": measure.task}
        shown.append(names | {"total": value.count, "items": items})
    return shown


def examples(connection: Any, measures: Sequence[Measure], models: Sequence[Subject], student: Subject) -> list[Row]:
    """Completions side by side: the prompts of which the student still shows most, then those the baseline knew."""
    measure = next((m for m in measures if m.metric == "familiarity_completion" and student.key in m.values), None)
    if measure is None:
        return []
    sides = [model for model in models if model.role in ("baseline", "gold") or model == student]
    return _items(connection, measure, sides, _order(connection, measure, models[0], student, EXAMPLES))


def next_tokens(connection: Any, measures: Sequence[Measure], models: Sequence[Subject], student: Subject) -> list[Row]:
    """The most probable next tokens of a few prompts in every model (the paper's table).

    A token is marked where an idiosyncratic (anchor) or a generic (translation) continuation begins with it.
    """
    measure = next((m for m in measures if m.metric == "familiarity_probability" and student.key in m.values), None)
    if measure is None:
        return []
    known = _order(connection, measure, student, models[0], NEXT_TOKENS)  # ordered by what the baseline shows
    shown = _items(connection, measure, models, known)
    shown = [item for item in shown if all(answer["details"].get("next_tokens") for answer in item["answers"])]
    for item in shown:
        for answer in item["answers"]:
            answer["tokens"] = [
                (text, probability, _mark(text, answer["details"]))
                for text, probability in answer["details"]["next_tokens"][:TOP]
            ]
    return shown


def _mark(token: str, details: Row) -> str:
    for name, mark in (("idiosyncratic", "anchor"), ("generic", "translation")):
        if token.strip() and any(text.startswith(token) for text, _ in details.get(name, ())):
            return mark
    return ""


def _order(connection: Any, measure: Measure, old: Subject, new: Subject, limit: int) -> list[int]:
    values = {"metric": measure.metric, "task": measure.task, "kind": measure.kind, "limit": limit}
    values |= {"after": new.items, "new": new.role, "new_step": new.step}
    values |= {"before": old.items, "old": old.role, "old_step": old.step}
    return [int(item) for (item,) in connection.execute(ORDER, values).fetchall()]


def _items(connection: Any, measure: Measure, models: Sequence[Subject], order: list[int]) -> list[Row]:
    """The items in this order, each with the answer of every model that was asked."""
    by_number: dict[int, Row] = {}
    for model in models:
        values = [model.items, measure.metric, measure.task, model.role, model.step, order]
        for row in rows(connection, ITEMS, values):
            item = by_number.setdefault(row["item"], _head(row))
            item["answers"].append(
                {
                    "model": model.key,
                    "score": row["score"],
                    "completion": middle(row["completion"], TEXT_CHARACTERS),
                    "details": json.loads(row["details"] or "{}"),
                }
            )
    return [by_number[item] for item in order if item in by_number]


def _head(row: Row) -> Row:
    prompt = tail(row["prompt"] or "", PROMPT_CHARACTERS)
    expected = middle(row["expected"], TEXT_CHARACTERS)
    return {"item": row["item"], "prompt": prompt, "expected": expected, "answers": []}
