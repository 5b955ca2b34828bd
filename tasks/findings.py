"""findings: an audit's rows and verdicts, read from its artifacts without loading a model."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storage.tables import read_shard
from tasks.measure.metrics import METRICS
from tasks.measure.verdicts import verdicts

Row = dict[str, Any]


def audit_summary(folders: Sequence[Path], missing: Mapping[str, str] | None = None) -> Row:
    """An audit for the report: {"models": [...], "measures": [...], "verdicts": [...]}.

    A measure is {attack, metric, task, meaning, share, values: {model: {value, stderr, items}}}; a model is baseline,
    gold, or the audited one as "model" (role and step in `models`). `missing`: attacks that were not made, and why.
    """
    rows = [row for folder in folders for row in read_shard(folder / "evaluations.parquet").to_pylist()]
    rows = [row for row in rows if row["metric"] in METRICS]
    measures: dict[tuple[str, str], Row] = {}
    for row in rows:
        about = METRICS[row["metric"]]
        names = {"attack": about.attack, "metric": row["metric"], "task": row["task"]}
        measure = measures.setdefault(
            (row["metric"], row["task"]), names | {"meaning": about.meaning, "share": about.share, "values": {}}
        )
        measure["values"][_key(row)] = {name: row[name] for name in ("value", "stderr", "items")}
    models = {_key(row): {"key": _key(row), "role": row["model"], "step": row["step"]} for row in rows}
    judged = [asdict(verdict) | {"tone": verdict.tone} for verdict in verdicts(rows, missing)]
    return {"models": list(models.values()), "measures": list(measures.values()), "verdicts": judged}


def _key(row: Row) -> str:
    role = str(row["model"])
    return role if role in ("baseline", "gold") else "model"
