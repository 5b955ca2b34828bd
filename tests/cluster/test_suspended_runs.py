"""Runs of a deployment that wait for a review: suspended by Prefect, approved in the UI's form or by the command."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Api, PrefectServer, until

from flows.job import read_job
from storage.opening import open_workspace
from storage.tables import open_tables

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

FORM = """
import sys
from prefect.flow_runs import resume_flow_run
resume_flow_run(sys.argv[1], run_input={"decision": "approve", "reviewer": "Bea", "note": "looks right"})
"""


def reviewers(root: Path) -> set[str]:
    with open_tables(open_workspace(root), write=False) as tables:
        query = "SELECT DISTINCT decided_by FROM anchor_decisions WHERE decided_by IS NOT NULL"
        return {name for (name,) in tables.execute(query).fetchall()}


def test_a_suspended_run_goes_on_to_its_end_once_it_is_approved(
    api: Api, prefect: PrefectServer, workers: Callable[..., Any], write_job: Callable[..., Path], place: Path
) -> None:
    workers("cpu")
    runs = {}
    for how in ("form", "command"):
        folder = place / how
        folder.mkdir()
        changes = [f"name={how}", "dictionary={extract='statistics', review=true}"]
        job = read_job(write_job(folder), changes).model_dump(mode="json")
        runs[how] = api.start(job, folder / "ws")
    for run in runs.values():
        until(lambda run=run: api.state(run)["name"] == "Suspended", f"the review of {run}", 120)
    prefect.command(sys.executable, "-c", FORM, runs["form"])
    approve = ("dictionary", "import", "--approve-rest", "--by", "Ann", "--root", place / "command" / "ws")
    assert f"the flow run {runs['command']} goes on" in prefect.command("nepenthe", *approve)
    for run in runs.values():
        assert api.ends(run, 180) == "Completed"
    assert reviewers(place / "form" / "ws") == {"Bea"}
    assert reviewers(place / "command" / "ws") == {"Ann"}
