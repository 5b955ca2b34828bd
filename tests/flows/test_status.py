"""`nepenthe status`: runs, what is made, failures, damage and room, read from the workspace alone."""

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.cli.options import rows_as_text
from flows.cli.status import show_status, status
from storage.artifact import Artifact
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.engine.watch import say_progress

CORPUS, LOGITS = Artifact("corpus", "tiny", "0" * 16), Artifact("logits", "tiny", "1" * 16)
STUDENT = Artifact("student", "tiny", "2" * 16)


@pytest.fixture(params=["folder", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "cache"))
    return open_workspace(f"memory://{uuid.uuid4().hex}" if request.param == "memory" else tmp_path / "ws")


def make(workspace: Workspace, artifact: Artifact, protected: bool = False) -> None:
    (workspace.resume(artifact) / "file.bin").write_bytes(b"x" * 2048)
    described = {"version": 1, "inputs": {}, "counts": {}, "seconds": 1.0, "holds_protected_text": protected}
    workspace.commit(artifact, described)


def note(workspace: Workspace, artifact: Artifact, event: str, message: str = "") -> None:
    path = workspace.root / "logs" / "runs.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"at": "2026-11-21T13:00:00.000+00:00", "run": "fast-fox", "stage": artifact.kind, "shard": None}
    with path.open("a") as file:
        file.write(json.dumps(line | {"artifact": artifact.fingerprint, "event": event, "message": message}) + "\n")


def only(found: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(found) == 1
    return found[0]


def test_an_empty_workspace_has_a_status(tmp_path: Path) -> None:
    found = status(open_workspace(tmp_path / "none"))
    assert (found["runs"], found["making"], found["disk"]) == ([], [], {})
    shown = show_status(found)
    assert shown.startswith(f"{tmp_path / 'none'}\n\n")
    assert "no run yet: nepenthe unlearn JOB.toml" in shown


def test_a_run_that_goes_on_shows_what_is_made_by_whom_and_how_far(workspace: Workspace) -> None:
    make(workspace, CORPUS)
    workspace.refer("tiny.unlearn", [CORPUS, LOGITS, STUDENT])
    with workspace.using(run="tiny.unlearn"), workspace.making(LOGITS):
        workspace.resume(LOGITS)
        say_progress(workspace, LOGITS, 0, 3, 12)
        found = status(workspace)
    run, made = only(found["runs"]), only(found["making"])
    assert (run["run"], run["state"], run["finished"], run["planned"]) == ("tiny.unlearn", "running", 1, 3)
    assert run["missing"] == ["logits", "student"]
    assert (made["stage"], made["fingerprint"], made["done"], made["total"]) == ("logits", "1" * 16, 3, 12)
    assert made["pid"] == os.getpid()
    assert found["unfinished"] == []
    shown = show_status(found)
    assert "1 of 3" in shown
    assert f" 25%  logits {'1' * 16}" in shown


def test_a_run_that_ended_is_finished_failed_or_left_unfinished(workspace: Workspace) -> None:
    make(workspace, CORPUS)
    workspace.refer("tiny.unlearn", [CORPUS, LOGITS])
    assert only(status(workspace)["runs"])["state"] == "unfinished"
    note(workspace, LOGITS, "failed", "the child process ended with signal SIGKILL\nits log")
    found = status(workspace)
    assert only(found["runs"])["state"] == "failed"
    failure = only(found["failures"])
    assert (failure["stage"], failure["solved"]) == ("logits", False)
    assert "signal SIGKILL" in show_status(found)
    make(workspace, LOGITS)
    found = status(workspace)
    assert only(found["runs"])["state"] == "finished"
    assert only(found["failures"])["solved"]
    assert "(made since)" in show_status(found)


def test_a_finished_run_whose_text_was_purged_is_not_unfinished_until_it_is_run_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.refer("tiny.unlearn", [CORPUS, STUDENT])
    for artifact in (CORPUS, STUDENT):
        make(workspace, artifact, protected=artifact is CORPUS)
    workspace.purge()
    assert only(status(workspace)["runs"])["state"] == "purged"
    monkeypatch.setattr("storage.workspace.datetime", SimpleNamespace(now=lambda _: datetime(2100, 1, 1, tzinfo=UTC)))
    workspace.refer("tiny.unlearn", [CORPUS, STUDENT])
    assert only(status(workspace)["runs"])["state"] == "unfinished"


def test_a_retry_that_goes_on_after_a_failure_has_not_failed(workspace: Workspace) -> None:
    workspace.refer("tiny.unlearn", [LOGITS])
    note(workspace, LOGITS, "failed", "killed")
    note(workspace, LOGITS, "started")
    assert only(status(workspace)["runs"])["state"] == "unfinished"


def test_what_nobody_is_at_and_what_is_damaged_is_named_and_room_is_counted(workspace: Workspace) -> None:
    make(workspace, CORPUS)
    workspace.keep(LOGITS, _written(workspace, LOGITS))
    if "://" in workspace.address:
        workspace.erase(f"{CORPUS.folder}/{workspace.record(CORPUS)['attempt']}/file.bin")
    else:
        (workspace.path(CORPUS) / "file.bin").write_bytes(b"x")
    found = status(workspace)
    assert only(found["unfinished"])["artifact"] == LOGITS.folder
    assert found["damaged"] == {CORPUS.folder: ["file.bin"]}
    assert found["disk"]["logits"] >= 5
    assert "file.bin" in show_status(found)


def _written(workspace: Workspace, artifact: Artifact) -> Path:
    path = workspace.resume(artifact) / "shard-0.parquet"
    path.write_bytes(b"shard")
    return path


def test_a_torn_line_of_the_journal_is_left_out(workspace: Workspace) -> None:
    note(workspace, LOGITS, "failed", "killed")
    with (workspace.root / "logs" / "runs.jsonl").open("a") as file:
        file.write('{"at": "2026-11-2')
    assert only(status(workspace)["failures"])["artifact"] == LOGITS.fingerprint


def test_status_loads_neither_prefect_nor_torch(tmp_path: Path) -> None:
    open_workspace(tmp_path).refer("tiny.unlearn", [LOGITS])
    code = (
        "import sys; from flows.cli.status import show_status, status; from storage.opening import open_workspace\n"
        f"show_status(status(open_workspace({str(tmp_path)!r})))\n"
        "assert not {'prefect', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_row_with_line_breaks_is_one_line() -> None:
    assert rows_as_text(["prompt", "n"], [("one\ntwo\r\nthree", 1), ("four", 2)]).splitlines()[2:] == [
        "one two three  1",
        "four           2",
    ]
