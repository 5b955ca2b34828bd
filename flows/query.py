"""Questions to a finished workspace: SQL, the summary of a run, its report."""

from pathlib import Path
from typing import Any

import duckdb

from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.shards import read_shard
from storage.tables import in_tables
from storage.workspace import Workspace
from tasks.choice import chosen_step
from tasks.progress import Progress
from tasks.report import PAGE, report, tried
from tasks.run import Run
from tasks.stage import Placement

Rows = list[tuple[Any, ...]]


def columns_of_tables() -> str:
    """The query that shows the tables, their columns and what these mean."""
    return (
        "SELECT table_name AS 'table', column_name AS 'column', data_type AS type, comment "
        "FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
    )


def run_query(workspace: Workspace, query: str) -> tuple[list[str], Rows]:
    """Column names and rows. Raises BadInput with DuckDB's words for a query that it refuses."""

    def ask(tables: Any) -> tuple[list[str], Rows]:
        found = tables.execute(query)
        return [column[0] for column in found.description or []], found.fetchall()

    try:
        return in_tables(workspace, ask, write=False)
    except duckdb.Error as error:
        raise BadInput(f"expected a query that DuckDB understands, found: {error}") from error


def show_rows(names: list[str], rows: Rows, widest: int = 80) -> str:
    """Rows as text in columns."""
    cells = [names, *([_cell(value, widest) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def summary(outcome: Any, workspace: Workspace) -> dict[str, Any]:
    """What a run showed: {"baseline": {...}, "unlearned": {...}, "gold": {...}, "model": path, "report": path}."""
    by_role: dict[str, list[dict[str, Any]]] = {}
    for artifact in outcome.evaluations:
        rows = read_shard(workspace.path(artifact) / "evaluations.parquet").to_pylist()
        if rows[0]["model"] == "student" and rows[0]["step"] != outcome.step:
            continue
        role = "unlearned" if rows[0]["model"] == "student" else rows[0]["model"]
        by_role.setdefault(role, []).extend(rows)
    found: dict[str, Any] = {role: measures(rows) for role, rows in by_role.items()}
    places = {"model": outcome.model, "report": page_of(outcome.report, workspace)}
    return found | {"step": outcome.step} | places


def measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One model's evaluation as {metric: value} with the benchmarks' accuracies by task."""
    plain = {row["metric"]: row["value"] for row in rows if row["metric"] != "accuracy"}
    return plain | {"benchmarks": {row["task"]: row["value"] for row in rows if row["metric"] == "accuracy"}}


def summary_table(found: dict[str, Any]) -> str:
    """The summary for a person."""
    models = [name for name in ("baseline", "unlearned", "gold") if name in found]
    names = [name for name in found[models[0]] if name != "benchmarks"]
    rows: Rows = [(name.replace("_", ", "), *(f"{found[model][name]:.4f}" for model in models)) for name in names]
    for task in found[models[0]]["benchmarks"]:
        rows.append((task, *(f"{found[model]['benchmarks'][task]:.4f}" for model in models)))
    table = show_rows(["", *models], rows)
    return f"\n{table}\n\nmodel   {found['model']}  (step {found['step']})\nreport  {found['report']}"


def report_again(workspace: Workspace, run: str) -> Path:
    """Make the newest report of a job again, from its artifacts, and give its HTML page.

    Raises MissingArtifact where the job has no report, or an artifact that it shows is gone.
    """
    old = report_of(workspace, run)
    inputs = report.inputs(**known_now(workspace, workspace.record(old)["inputs"]))
    new = report.artifact(old.name, inputs)
    with workspace.writing():
        if known := workspace.find(new.kind, new.fingerprint):
            workspace.remove(known)
        workspace.refer(f"{old.name}.report", [new])
        Run(workspace, old.name, Placement(), Progress(1)).make(report, new, inputs)
    return workspace.path(new) / PAGE


def page_of(made: Artifact | None, workspace: Workspace) -> str:
    """Where a report lies; empty without one."""
    return str(workspace.path(made) / PAGE) if made else ""


def known_now(workspace: Workspace, recorded: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a recorded report, with the audit and the ablation that have been made since."""
    inputs = {name: _artifacts(workspace, made_of) for name, made_of in recorded.items() if made_of}
    student = find_artifact(workspace, recorded["student"])
    step = int(workspace.record(student)["counts"]["steps"])
    if recorded.get("choice"):
        step = chosen_step(workspace, find_artifact(workspace, recorded["choice"]), step)
    return inputs | tried(workspace, student, step)


def report_of(workspace: Workspace, run: str) -> Artifact:
    """The newest report of a job, by its name or the report's fingerprint; of any job where `run` is empty."""
    reports = [
        artifact
        for artifact in workspace.all()
        if artifact.kind == report.kind and run in ("", artifact.name, artifact.fingerprint)
    ]
    if not reports:
        raise MissingArtifact(
            f"expected a report {f'of {run} ' if run else ''}in {workspace.root}, found none: "
            "run the job (nepenthe unlearn JOB.toml); its last stage makes it"
        )
    return reports[-1]


def _artifacts(workspace: Workspace, fingerprint: str | list[str]) -> Artifact | list[Artifact]:
    if isinstance(fingerprint, list):
        return [find_artifact(workspace, one) for one in fingerprint]
    return find_artifact(workspace, fingerprint)


def find_artifact(workspace: Workspace, fingerprint: str) -> Artifact:
    """The artifact of a fingerprint, or of its beginning."""
    found = [artifact for artifact in workspace.all() if artifact.fingerprint.startswith(fingerprint)]
    if len(found) != 1:
        raise BadInput(f"expected one artifact whose fingerprint starts with {fingerprint}, found {len(found)}")
    return found[0]


def _cell(value: Any, widest: int) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= widest else text[: widest - 1] + "…"
