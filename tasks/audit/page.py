"""The audit drawn: what each attack got, how fast knowledge comes back, and the items behind the numbers.

The same parts make the audit's own page and a section of the report. Conditions that were tried on the same items (the
steps of relearning, the widths of rounding, the scores of membership) are shown item by item beside each other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.reader import Row, reader, rows
from tasks.audit import ATTACKS, METRICS
from tasks.audit.verdicts import key_in_audit
from tasks.drawing import charts
from tasks.drawing.numbers import signed
from tasks.drawing.template import plain_slug
from tasks.drawing.texts import PROMPT_CHARACTERS, TEXT_CHARACTERS, middle, tail

SHOWN = 8
"""Items of a measure on the page."""
MODELS = ("baseline", "model", "gold")
ORDER = """
SELECT item FROM read_parquet($files) WHERE metric = $metric AND task = $task AND model = $model AND score IS NOT NULL
ORDER BY score DESC, item LIMIT $limit
"""
ITEMS = """
SELECT model, task, item, prompt, expected, completion, score FROM read_parquet($files)
WHERE metric = $metric AND list_contains($tasks, task) AND list_contains($items, item)
ORDER BY model <> $model, model, task
"""  # a recited passage is cut elsewhere for every model: the page shows it as it was for the one that is looked at


def parts(summary: Row, items: Sequence[Row]) -> Row:
    """What the audit's template needs besides its numbers."""
    drawn = {"audit_figures": figures(summary), "audit_rows": table(summary), "audit_models": heads(summary)}
    return drawn | {
        "audit_items": items,
        "audit_annex": [kind for kind, attack in ATTACKS.items() if attack.annex],
        "audit_titles": {kind: (attack.title, attack.question) for kind, attack in ATTACKS.items()},
    }


def heads(summary: Row) -> dict[str, str]:
    """The models that were measured, as the heads of columns."""
    titles = {"baseline": "baseline", "gold": "gold", "model": "audited"}
    known = {model["key"]: model for model in summary["models"]}
    if known.get("model", {}).get("role") == "student":
        titles["model"] = f"step {known['model']['step']}"
    return {key: titles[key] for key in MODELS if key in known}


def group_of(measure: Mapping[str, Any]) -> tuple[str, str]:
    """(group, condition): measures of one group were taken on the same items."""
    group, condition = METRICS[measure["metric"]].conditions(measure["task"])
    return f"{measure['metric']} {group}".strip(), condition


def anchor_of(group: str) -> str:
    """Where the page shows the items of a group."""
    return f"audit-{plain_slug(group)}"


def _in_words(changes: Row) -> str:
    """How the audited model differs from its references, for who points at its value."""
    parts = [
        f"against {name}: {signed(change['difference'])} ({signed(change['low'])} to {signed(change['high'])})"
        for name, change in changes.items()
    ]
    return "; ".join(parts)


def table(summary: Row) -> list[Row]:
    """A row a measure: {attack, title, rowspan, name, task, meaning, cells, anchor}; a cell is (value, its changes).

    The title stands in an attack's first row alone, the measures of a group beside each other.
    """
    table_rows: list[Row] = []
    for kind, attack in ATTACKS.items():
        measures = [measure for measure in summary["measures"] if measure["attack"] == kind]
        order = [group_of(measure)[0] for measure in measures]
        measures.sort(key=lambda measure: order.index(group_of(measure)[0]))
        for number, measure in enumerate(measures):
            changes = _in_words(measure["changes"])
            cells = [(measure["values"].get(key), changes if key == "model" else "") for key in heads(summary)]
            table_rows.append(
                {
                    "attack": kind,
                    "title": attack.title if number == 0 else "",
                    "rowspan": len(measures),
                    "name": measure["metric"].replace("_", " "),
                    "task": measure["task"],
                    "meaning": measure["meaning"],
                    "cells": cells,
                    "anchor": anchor_of(group_of(measure)[0]),
                }
            )
    return table_rows


# ------------------------------------------------------------------------------------------------------------- charts


def figures(summary: Row) -> list[tuple[Any, str]]:
    """(chart, caption): relearning by source, rounding, depth."""
    charted: list[tuple[str, Any, float, str]] = []
    for source, about in (
        ("target", "some of the text to be forgotten"),
        ("related", "related text"),
        ("unrelated", "unrelated text"),
    ):
        if lines := _lines(summary, f"relearned_familiarity {source}"):
            chart = charts.shares(charts.lines(lines, "steps of finetuning", "familiarity, probability"), 1.03)
            caption = f"Relearning on {about}: familiarity of a copy of each model, with 95 % intervals."
            charted.append((f"relearning-{source}", chart, 3.1, caption))
    names, groups = _rounded(summary)
    if groups:
        height = 0.9 + 0.24 * len(names) * (len(groups) + 1)
        caption = "Rounding: familiarity by probability with weights as they are and rounded to few bits."
        charted.append(("rounding", charts.groups(names, groups), height, caption))
    if lines := _lines(summary, "lens_readable"):
        chart = charts.shares(charts.lines(lines, "layer", "tokens readable"), 1.03)
        caption = "Depth: how much of the text's expressions each layer's state shows, with 95 % intervals."
        charted.append(("depth", chart, 3.1, caption))
    if lines := _lines(summary, "patched_log_probability"):
        chart = charts.lines(lines, "layer", "log-probability, nats")
        caption = (
            "Depth: what the baseline still gives to a token of the text's expressions where each layer's states are "
            "replaced by another model's, with 95 % intervals."
        )
        charted.append(("patching", chart, 3.1, caption))
    return [(charts.svg(f"audit-{name}", chart, caption, height), caption) for name, chart, height, caption in charted]


def _lines(summary: Row, group: str) -> list[charts.Line]:
    """A line a model over the conditions of a group that are numbers, the audited one first."""
    measures = [m for m in summary["measures"] if group_of(m)[0] == group]
    measures.sort(key=lambda measure: int(group_of(measure)[1]))
    lines = []
    for key, title in _drawn(summary):
        points = [(int(group_of(m)[1]), m["values"][key]) for m in measures if key in m["values"]]
        lines += [charts.line(title, points)] if points else []
    return lines


def _rounded(summary: Row) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """The forms of the weights, and (model, its familiarity in each of them)."""
    measures = [m for m in summary["measures"] if m["metric"] == "quantised_familiarity"]
    series = [(title, [m["values"].get(key, {}).get("value") for m in measures]) for key, title in _drawn(summary)]
    shown = [(title, values) for title, values in series if any(value is not None for value in values)]
    return ["as they are" if m["task"] == "full" else m["task"] for m in measures], shown


def _drawn(summary: Row) -> list[tuple[str, str]]:
    """Models in the order of their colours: the audited one, baseline, gold."""
    known = heads(summary)
    titles = {"model": "unlearned", "baseline": "baseline", "gold": "gold"}
    if known.get("model") == "audited":
        titles["model"] = "audited"
    return [(key, titles[key]) for key in ("model", "baseline", "gold") if key in known]


# -------------------------------------------------------------------------------------------------------------- items


def exhibits(folders: Sequence[Path], summary: Row) -> list[Row]:
    """Per group the items that give most away: {anchor, name, total, conditions, unit, items}.

    An item is {item, prompt, expected, answers: [{model, scores, completion}]}, a score a condition.
    """
    files = [str(folder / "evaluation_items.parquet") for folder in folders]
    groups: dict[str, list[Row]] = {}
    for measure in summary["measures"]:
        groups.setdefault(group_of(measure)[0], []).append(measure)
    with reader() as connection:
        return [_exhibit(connection, files, name, group, summary) for name, group in groups.items()]


def _exhibit(connection: Any, files: list[str], name: str, group: Sequence[Row], summary: Row) -> Row:
    last, tasks = group[-1], [measure["task"] for measure in group]
    key = next(key for key in ("model", *MODELS) if key in last["values"])
    role = next(model["role"] for model in summary["models"] if model["key"] == key)
    about = {"files": files, "metric": last["metric"], "model": role}
    order = [row["item"] for row in rows(connection, ORDER, about | {"task": last["task"], "limit": SHOWN})]
    answers = rows(connection, ITEMS, about | {"tasks": tasks, "items": order})
    metric, models = METRICS[last["metric"]], heads(summary)
    return {
        "anchor": anchor_of(name),
        "name": name.replace("_", " "),
        "meaning": metric.meaning,
        "attack": last["attack"],
        "metric": last["metric"],
        "total": last["values"][key]["items"],
        "conditions": [group_of(measure)[1] for measure in group],
        "unit": metric.unit,
        "items": [_item([row for row in answers if row["item"] == number], tasks, models) for number in order],
    }


def _item(answers: Sequence[Row], tasks: Sequence[str], models: dict[str, str]) -> Row:
    first, completions = answers[0], []
    for key, title in models.items():
        mine = {row["task"]: row for row in answers if key_in_audit(row["model"]) == key}
        if mine:
            completion = next(iter(mine.values()))["completion"] if len(tasks) == 1 else ""
            scores = [mine[task]["score"] if task in mine else None for task in tasks]
            completions.append({"model": title, "scores": scores, "completion": middle(completion, TEXT_CHARACTERS)})
    prompt = tail(first["prompt"] or "", PROMPT_CHARACTERS)
    return {"item": first["item"], "prompt": prompt, "expected": middle(first["expected"], TEXT_CHARACTERS)} | {
        "answers": completions
    }
