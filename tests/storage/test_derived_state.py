"""What is made from the artifacts, or only says what was, may be damaged: nothing stops for it and nothing is lost."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.show import run_query
from flows.cli.status import show_status, status
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline
from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact, NepentheError
from storage.maintenance import gc, repair
from storage.shards import write_shard
from storage.tables import in_tables, prune, refresh
from storage.workspace import Workspace
from tasks.engine.runner import Direct
from tasks.engine.stage import Context, Counts, stage

MADE, OTHER = Artifact("reinforce", "first", "1" * 16), Artifact("student", "second", "2" * 16)
DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": True}
ROW = {"step": 1, "loss": 0.5, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 1.0}
NOISE = random.Random(0).randbytes(2**21)
NOTE = b'{"run": "lost.unlearn", "at": "now", "by": "Ann", "host": "h", "artifacts": [["reinforce"]]}'
STEPS = "SELECT count(*), count(DISTINCT loss) FROM training_steps"


def make(workspace: Workspace, artifact: Artifact, rows: int = 20_000, **inputs: Any) -> None:
    losses = random.Random(artifact.fingerprint)
    path = workspace.resume(artifact) / "training_steps.parquet"
    write_shard(path, [ROW | {"step": step, "loss": losses.random()} for step in range(rows)])
    workspace.commit(artifact, DESCRIPTION | {"inputs": inputs})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two finished artifacts, loaded, and a run that needs both."""
    made = Workspace(tmp_path / "ws")
    make(made, MADE)
    make(made, OTHER, model=f"{MADE.fingerprint}/steps/last")
    made.refer("tiny.unlearn", [MADE, OTHER])
    refresh(made)
    return made


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "noise": lambda _: NOISE,
    "empty": lambda _: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "spoilt in its midst": lambda whole: whole[:200_000] + NOISE[: len(whole) - 300_000] + whole[-100_000:],
}
USES: dict[str, Callable[[Workspace], Any]] = {
    "sql": lambda workspace: run_query(workspace, STEPS),
    "a run's start": refresh,
    "a finished artifact": lambda workspace: in_tables(workspace, lambda tables: prune(tables, workspace), write=True),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tables_are_set_aside_and_filled_again(
    damage: str, use: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run_query(workspace, STEPS)[1]
    spoilt = DAMAGES[damage](workspace.database.read_bytes())
    workspace.database.write_bytes(spoilt)
    USES[use](workspace)
    assert run_query(workspace, STEPS)[1] == before == [(40_000, before[0][1])]
    said = capsys.readouterr().err.splitlines()
    what = "it is tables.duckdb.damaged now, and filled again from the artifacts"
    assert said == [f"nepenthe: {workspace.database} was damaged: {what}"]
    assert workspace.damaged_database.read_bytes() == spoilt


def test_what_was_set_aside_is_litter_and_purged_with_the_text(workspace: Workspace) -> None:
    workspace.database.write_bytes(NOISE)
    refresh(workspace)
    assert gc(workspace)["litter"] == ["tables.duckdb.damaged"]
    gc(workspace, yes=True)
    assert gc(workspace)["litter"] == []
    workspace.database.write_bytes(NOISE)
    refresh(workspace)
    workspace.purge()
    assert not list(workspace.root.glob("tables*"))


@pytest.mark.parametrize("query", ["SELECT nothing", "SELEC 1", "SELECT error('Corrupt database file')"])
def test_a_query_that_fails_is_no_damage(query: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = workspace.database.read_bytes()
    with pytest.raises(NepentheError):
        run_query(workspace, query)
    assert workspace.database.read_bytes()[:4096] == before[:4096]
    assert not workspace.damaged_database.exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", [b"", NOISE, b"null", b"[]", b"{}", b'{"kind": "rein'])
def test_a_record_that_cannot_be_read_means_not_finished_and_the_run_makes_it_again(
    text: bytes, direct_run: Callable[..., Direct]
) -> None:
    made = []

    @stage("training", version=1)
    def training(context: Context, number: int) -> Counts:
        write_shard(context.folder / "training_steps.parquet", [ROW | {"step": number}])
        made.append(number)
        return {}

    run = direct_run()
    first, other = run(training, 1), run(training, 2)
    for artifact in (first, other):
        (run.workspace.path(artifact) / "record.json").write_bytes(text)
    assert run.workspace.find(first.kind, first.fingerprint) is None
    assert run.workspace.damaged(first) == ["record.json"]
    with pytest.raises(DamagedArtifact, match=r"record\.json; nepenthe verify --repair"):
        run.workspace.verify(first)
    refresh(run.workspace)  # a run starts, whatever else is damaged
    assert run(training, 1) == first
    assert made == [1, 2, 1]
    assert run.workspace.find(first.kind, first.fingerprint) == first
    run.workspace.verify(first)
    assert run(training, 1) == first
    assert len(made) == 3
    assert status(run.workspace)["damaged"] == {other.folder: ["record.json"]}
    assert repair(run.workspace)["repaired"] == {other.folder: ["record.json"]}


def test_an_object_store_s_unreadable_record_means_not_finished(machine: Callable[..., Workspace]) -> None:
    one = machine("memory://unreadable/records", "one")
    make(one, MADE, rows=3)
    one.write(f"{MADE.folder}/record.json", b"")
    two = machine("memory://unreadable/records", "two")
    assert two.find(MADE.kind, MADE.fingerprint) is None
    assert two.litter() == []
    make(two, MADE, rows=4)
    assert one.find(MADE.kind, MADE.fingerprint) == MADE
    one.verify(MADE)
    refresh(one)
    assert run_query(one, STEPS)[1] == [(4, 4)]


def test_nothing_is_removed_while_a_needed_record_cannot_be_read(workspace: Workspace) -> None:
    workspace.refer("tiny.unlearn", [OTHER])  # and through it, MADE
    record = workspace.path(OTHER) / "record.json"
    whole = record.read_bytes()
    record.write_bytes(b"")
    with pytest.raises(DamagedArtifact, match=OTHER.folder):
        gc(workspace, yes=True, older_than=0)
    record.write_bytes(whole)
    assert gc(workspace, yes=True, older_than=0)["artifacts"] == []


def test_an_unreadable_record_is_purged_for_it_may_hold_the_text(workspace: Workspace) -> None:
    (workspace.path(OTHER) / "record.json").write_bytes(NOISE)
    assert set(workspace.purge()) == {MADE, OTHER}
    assert workspace.all() == []


@pytest.mark.parametrize("text", [b"", NOISE, b"{}", b"null", b'{"run": "lost.unlearn", "art', NOTE])
def test_a_run_s_damaged_note_costs_a_sentence_and_gc_removes_nothing(text: bytes, workspace: Workspace) -> None:
    workspace.refer("lost.unlearn", [OTHER])
    (workspace.root / "runs" / "lost.unlearn.json").write_bytes(text)
    found = status(workspace)
    assert [run["run"] for run in found["runs"]] == ["tiny.unlearn"]
    assert "what lost.unlearn refers to: run it again" in show_status(found)
    assert "no run yet" not in show_status(found | {"runs": []})
    workspace.refer("tiny.unlearn", [MADE])
    for yes in (False, True):
        with pytest.raises(BadInput, match=r"lost\.unlearn refers to, found a damaged note, so nothing is removed"):
            gc(workspace, yes=yes, older_than=0)
    assert set(workspace.all()) == {MADE, OTHER}
    assert gc(workspace, yes=True, older_than=0, forget_jobs=["lost"])["artifacts"] == [OTHER.folder]
    assert status(workspace)["unreadable"] == []


def test_damaged_lines_of_the_journal_cost_a_sentence(workspace: Workspace) -> None:
    event = {"at": "2026-11-21", "artifact": MADE.fingerprint, "event": "failed", "run": "r", "stage": "s"}
    good = json.dumps(event | {"shard": None, "message": "no"}).encode()
    lines = [good, NOISE.replace(b"\n", b""), b'{"at": 1, "artifact": [], "event": {}}', b"[]", good[:30]]
    workspace.journal.parent.mkdir()
    workspace.journal.write_bytes(b"\n".join(lines[:1] + lines[2:]))
    found = status(workspace)
    assert len(found["failures"]) == 1
    assert found["unreadable"] == [f"3 lines of {workspace.journal}: torn by a kill, or damaged"]
    workspace.journal.write_bytes(b"\n".join(lines))
    assert status(workspace)["failures"] == []
    assert "unreadable" in show_status(status(workspace))
    gc(workspace, yes=True)


def test_a_lost_memory_of_hashes_is_made_again(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    for text in (NOISE, b"[]", b'"words"', b""):
        (workspace.root / "hashes.json").write_bytes(text)
        again, text_file = Workspace(workspace.root), [tmp_path / "text"]
        assert again.hashes.of_each(text_file) == workspace.hashes.of_each(text_file)


KEPT = """
import sys, threading, time
from storage.tables import in_tables
from storage.workspace import Workspace

def act(tables):
    answer = tables.execute("SELECT 1")
    raise {error}

try:
    in_tables(Workspace(sys.argv[1]), act, write=True)
except BaseException as error:
    # somebody keeps it until Python ends, as Prefect does
    threading.Thread(target=lambda kept: time.sleep(600), args=[error], daemon=True).start()
"""


@pytest.mark.parametrize("error", ["RuntimeError('a bug')", "KeyboardInterrupt", "SystemExit(3)"])
def test_a_command_that_ends_early_leaves_nothing_of_duckdb_to_complain(error: str, tmp_path: Path) -> None:
    code = KEPT.format(error=error)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stderr == ""


INTERRUPTED = """
import tasks.engine.runner

def enter(tables, *_):
    tables.execute("FROM loads")
    raise KeyboardInterrupt

tasks.engine.runner.enter = enter
"""


@pytest.mark.slow
def test_commands_go_on_with_damaged_tables(
    command: Any, make_job: Callable[..., Path], direct_run: Callable[..., Direct], tmp_path: Path
) -> None:
    """They say so once, and one that is interrupted leaves nothing of DuckDB to complain."""
    job, workspace = make_job(), Workspace(tmp_path / "ws")
    ended = command("dictionary", "extract", job, "--root", workspace.root, patch=INTERRUPTED)
    assert ended.returncode == 130
    assert "nanobind" not in ended.stderr
    asked = read_job(job, [])
    pipeline(asked, resolve(asked, workspace.hashes), direct_run(workspace.root))
    for arguments in (["unlearn", job], ["sql"]):
        workspace.database.write_bytes(NOISE)
        done = command(*arguments, "--root", workspace.root)
        assert (done.returncode, done.stderr.count("was damaged")) == (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        assert run_query(workspace, "SELECT count(*) > 10 FROM label_curves")[1] == [(True,)]
