"""audit: what all attacks on one model found, in one place: their numbers, their verdicts, items, and a page.

The verdicts are made from the attacks' rows, without loading a model. The page quotes the text, as the report does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.artifact import Artifact
from storage.shards import read_shard
from tasks.audit import ATTACK_OF, ATTACKS, METRICS
from tasks.audit.verdicts import Findings, Verdict, key_in_audit, noise_of
from tasks.contents import AUDIT_EVIDENCE, AUDIT_ITEMS, AUDIT_PAGE, ITEMS, evaluation_rows, write_json
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.intervals import interval, interval_of_perplexity, wilson
from tasks.models import Model

Row = dict[str, Any]


@stage("audit", version=1, protected=True)
def audit(context: Context, model: Model, attacks: list[Artifact], missing: dict[str, str]) -> Counts:
    """Write audit.json (numbers and verdicts), items.json (texts behind them) and audit.html (both)."""
    from tasks.audit.page import draw, exhibits

    folders = [context.path(made) for made in attacks]
    found = {"job": context.artifact.name, "audited": model.fingerprint} | audit_summary(folders, missing)
    items = exhibits(folders, found)
    write_json(context.folder / AUDIT_EVIDENCE, found)
    write_json(context.folder / AUDIT_ITEMS, items)
    (context.folder / AUDIT_PAGE).write_text(draw(found, items), encoding="utf-8")
    return {"attacks": len(attacks), "measures": len(found["measures"])}


def audit_summary(folders: Sequence[Path], missing: Mapping[str, str] | None = None) -> Row:
    """An audit's numbers: {"models": [...], "measures": [...], "verdicts": [...], "headline": ...}.

    A measure is {attack, metric, task, meaning, share, values: {model: {value, low, high, stderr, items}}, changes:
    {reference: {difference, low, high}}}, with 95 % intervals; a model is baseline, gold, or the audited one as "model"
    (role and step in `models`), whose changes are. `missing`: attacks that were not made, and why.
    """
    rows = [row for folder in folders for row in evaluation_rows(folder)]
    rows = [row for row in rows if row["metric"] in METRICS]
    measures: dict[tuple[str, str], Row] = {}
    for row in rows:
        about = METRICS[row["metric"]]
        names = {"attack": ATTACK_OF[row["metric"]], "metric": row["metric"], "task": row["task"]}
        measure = measures.setdefault(
            (row["metric"], row["task"]), names | {"meaning": about.meaning, "share": about.share, "values": {}}
        )
        measure["values"][key_in_audit(row["model"])] = _value(row)
    models = {
        key: {"key": key, "role": row["model"], "step": row["step"]}
        for row in rows
        if (key := key_in_audit(row["model"]))
    }
    scores = [row for folder in folders for row in _scores(folder)]
    known = Findings(rows, scores)
    for (metric, task), measure in measures.items():
        measure["changes"] = _changes(known, metric, task)
    judged = verdicts(rows, missing, scores)
    return {
        "models": list(models.values()),
        "measures": list(measures.values()),
        "verdicts": [asdict(verdict) | {"tone": verdict.tone, "word": verdict.word} for verdict in judged],
        "headline": headline(judged),
    }


def verdicts(rows: Sequence[Row], missing: Mapping[str, str] | None = None, items: Sequence[Row] = ()) -> list[Verdict]:
    """A verdict for every attack that left rows of `evaluations`, and one for each that could not be made.

    With rows of `evaluation_items` two models are compared on the same items, else by their standard errors.
    """
    known = Findings(rows, items)
    judged = [
        attack.judge(known) for attack in ATTACKS.values() if any(known.tasks(metric) for metric in attack.metrics)
    ]
    return judged + [Verdict(name, "not made", f"Not made: {why}.") for name, why in (missing or {}).items()]


def headline(judged: Iterable[Verdict]) -> str:
    """What an adversary gets back, in a sentence or two: the gravest first, and what no attack could tell."""
    leaks = {kind: attack.leak for kind, attack in ATTACKS.items() if attack.leak}
    judged = [verdict for verdict in judged if verdict.attack in leaks]
    said = {
        "Most of what the baseline knew comes back by {}.": ("most",),
        "Some of it comes back by {}.": ("some",),
        "What shows may be chance in {}.": ("unsure",),
        "The text stands out as avoided in {}.": ("avoided",),
        "Nothing comes back by {}.": ("nothing",),
        "Not known: {}.": ("blind", "alone", "not made"),
    }
    names = {form: [leaks[v.attack] for v in judged if v.status in statuses] for form, statuses in said.items()}
    return " ".join(form.format(_listed(those)) for form, those in names.items() if those) or "No attack was made."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _changes(known: Findings, metric: str, task: str) -> Row:
    """The audited model minus baseline and gold, item by item."""
    mine, found = known.of("model", metric, task), {}
    for other in ("baseline", "gold"):
        reference = known.of(other, metric, task)
        if mine and reference and mine.groups and mine is not reference:
            difference, noise = mine.value - reference.value, noise_of(mine, reference)
            found[other] = {"difference": difference, "low": difference - noise, "high": difference + noise}
    return found


def _scores(folder: Path) -> list[Row]:
    """The items without their texts."""
    columns = ["model", "metric", "task", "item", "score", "details"]
    table = read_shard(folder / ITEMS).select(columns)
    rows: list[Row] = table.filter(pc.is_in(table["metric"], pa.array(list(METRICS)))).to_pylist()
    return rows


def _value(row: Row) -> Row:
    low, high = _interval(row)
    return {"value": row["value"], "low": low, "high": high, "stderr": row["stderr"], "items": row["items"]}


def _interval(row: Row) -> tuple[float, float]:
    value, error = row["value"], row["stderr"]
    if row["metric"].endswith("perplexity"):
        return interval_of_perplexity(value, error)
    if METRICS[row["metric"]].share and row["metric"] != "membership_auc":
        return wilson(min(max(value, 0.0), 1.0) * row["items"], row["items"])
    low, high = interval(value, error)
    return max(low, 0.0), min(high, 1.0) if METRICS[row["metric"]].share else high
