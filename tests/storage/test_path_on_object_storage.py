"""The whole pipeline with its workspace in an object store, begun on one machine and ended on another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline, plan
from storage.tables import open_tables, refresh
from storage.workspace import Workspace
from tasks import logits as logits_stage
from tasks.engine.runner import Direct

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
URL = "s3://bucket/path"


@pytest.mark.usefixtures("s3")
def test_another_machine_ends_what_one_began_and_it_is_the_same(
    make_job: Callable[..., Path],
    direct_run: Callable[..., Direct],
    machine: Callable[..., Workspace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_file = make_job()

    def run_in(run: Direct) -> Any:
        job = read_job(job_file, [])
        return pipeline(job, resolve(job, run.workspace.hashes), run)

    write_rows, shards = logits_stage.write_rows, []

    def cut_off(context: Any, rows: Any, table: Any, first: int, end: int) -> None:
        if shards:
            raise ConnectionError("the node is gone")
        shards.append((first, end))
        write_rows(context, rows, table, first, end)

    one = machine(URL, "one")
    monkeypatch.setattr(logits_stage, "write_rows", cut_off)
    with pytest.raises(ConnectionError):
        run_in(direct_run(URL))
    assert [artifact.kind for artifact in one.partials()] == ["logits"]

    two = machine(URL, "two")
    redone: list[tuple[int, int]] = []

    def counted(context: Any, rows: Any, table: Any, first: int, end: int) -> None:
        redone.append((first, end))
        write_rows(context, rows, table, first, end)

    monkeypatch.setattr(logits_stage, "write_rows", counted)
    outcome = run_in(direct_run(URL))
    assert shards[0] not in redone
    assert redone
    assert two.partials() == []
    assert Path(outcome.model).is_relative_to(two.root)

    local = direct_run()
    run_in(local)
    assert {artifact.folder for artifact in two.all()} == {artifact.folder for artifact in local.workspace.all()}
    counts = [rows_of(workspace) for workspace in (two, local.workspace)]
    assert counts[0] == counts[1]

    job = read_job(job_file, [])
    three = machine(URL, "three")
    assert all(step.cached for step in plan(job, resolve(job, three.hashes), three).steps)


def rows_of(workspace: Workspace) -> dict[str, int]:
    refresh(workspace)
    with open_tables(workspace, write=False) as tables:
        names = [name for (name,) in tables.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {
            name: tables.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names if name != "events"
        }
