"""What no run refers to goes, and nothing else; damage is taken away, so that a run makes it again."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from flows.cli import exit_code
from storage.artifact import Artifact
from storage.errors import BadInput, WorkspaceBusy
from storage.lineage import fingerprints_in
from storage.maintenance import gc, repair, show_gc, show_verified
from storage.opening import open_workspace
from storage.shards import write_shard
from storage.tables import open_tables, refresh
from storage.workspace import Workspace

CORPUS = Artifact("corpus", "first", "0" * 16)
BLOCKS = Artifact("blocks", "first", "1" * 16)
MODEL = Artifact("reinforce", "first", "2" * 16)
LOGITS = Artifact("logits", "first", "3" * 16)
REPORT = Artifact("report", "second", "4" * 16)


@pytest.fixture(params=["folder", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "cache"))
    return open_workspace(f"memory://{uuid.uuid4().hex}" if request.param == "memory" else tmp_path / "ws")


def make(workspace: Workspace, artifact: Artifact, **inputs: Any) -> None:
    row = {"step": 1, "loss": 0.5, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 1.0}
    write_shard(workspace.resume(artifact) / "training_steps.parquet", [row])
    described = {"version": 1, "counts": {}, "seconds": 1.0, "holds_protected_text": False}
    workspace.commit(artifact, described | {"inputs": inputs})


@pytest.fixture
def two_jobs(workspace: Workspace) -> Workspace:
    """Both read the corpus; the first has logits of its own, of the second only the report is named."""
    make(workspace, CORPUS, files="f" * 16)
    make(workspace, BLOCKS, corpus=CORPUS.fingerprint, settings={"length": 64})
    make(workspace, MODEL, corpus=CORPUS.fingerprint)
    make(workspace, LOGITS, blocks=BLOCKS.fingerprint, reinforced=f"{MODEL.fingerprint}/model")
    make(workspace, REPORT, evidence=[{"blocks": BLOCKS.fingerprint}, None, 5])
    workspace.refer("first.unlearn", [CORPUS, BLOCKS, MODEL, LOGITS])
    workspace.refer("second.unlearn", [REPORT])
    refresh(workspace)
    return workspace


def loaded(workspace: Workspace) -> set[str]:
    with open_tables(workspace, write=False) as tables:
        columns = ("artifact FROM training_steps", "fingerprint FROM artifacts", "artifact FROM loads")
        found = tables.execute(" UNION ".join(f"SELECT {column}" for column in columns)).fetchall()
    return {fingerprint for (fingerprint,) in found}


def test_what_some_run_refers_to_directly_or_through_inputs_stays(two_jobs: Workspace) -> None:
    told = gc(two_jobs, yes=True, older_than=0)
    assert (told["artifacts"], told["kept"], told["bytes"]) == ([], 5, 0)
    assert len(two_jobs.all()) == 5


def test_a_forgotten_job_leaves_what_another_was_made_from(two_jobs: Workspace) -> None:
    told = gc(two_jobs, yes=True, forget_jobs=["first"], older_than=0)
    assert set(told["artifacts"]) == {MODEL.folder, LOGITS.folder}
    assert told["bytes"] > 0
    assert set(two_jobs.all()) == {CORPUS, BLOCKS, REPORT}
    assert list(two_jobs.references()) == ["second.unlearn"]
    assert loaded(two_jobs) == {artifact.fingerprint for artifact in (CORPUS, BLOCKS, REPORT)}


def test_without_yes_it_only_tells(two_jobs: Workspace) -> None:
    told = gc(two_jobs, forget_jobs=["first.unlearn"], older_than=0)
    assert not told["done"]
    assert "2 (" in show_gc(told)
    assert "add --yes" in show_gc(told)
    assert len(two_jobs.all()) == 5
    assert len(two_jobs.references()) == 2
    assert len(loaded(two_jobs)) == 5


def test_an_unfinished_run_keeps_what_it_has_and_what_it_will_need(two_jobs: Workspace) -> None:
    wanted, nobodys = Artifact("logits", "third", "5" * 16), Artifact("logits", "old", "6" * 16)
    for artifact in (wanted, nobodys):
        (two_jobs.resume(artifact) / "logits-0.parquet").write_bytes(b"half")
        two_jobs.keep(artifact, two_jobs.partial(artifact) / "logits-0.parquet")
    two_jobs.refer("third.unlearn", [BLOCKS, MODEL, wanted])
    told = gc(two_jobs, yes=True, forget_jobs=["first", "second"], older_than=0)
    assert set(told["artifacts"]) == {LOGITS.folder, REPORT.folder}
    assert told["partials"] == [nobodys.folder]
    assert set(two_jobs.all()) == {CORPUS, BLOCKS, MODEL}
    assert two_jobs.partials() == [wanted]
    assert (two_jobs.resume(wanted) / "logits-0.parquet").read_bytes() == b"half"


def test_what_the_last_run_that_ended_needed_stays_until_the_next_one_ends(two_jobs: Workspace) -> None:
    other = Artifact("logits", "first", "5" * 16)
    for _ in range(2):  # and fails twice
        two_jobs.refer("first.unlearn", [CORPUS, other], ended=False)
        assert gc(two_jobs, yes=True, older_than=0)["artifacts"] == []
    two_jobs.refer("first.unlearn", [CORPUS])
    assert set(gc(two_jobs, yes=True, older_than=0)["artifacts"]) == {MODEL.folder, LOGITS.folder}


def test_young_artifacts_stay_whoever_refers_to_them(two_jobs: Workspace) -> None:
    told = gc(two_jobs, yes=True, forget_jobs=["first"], older_than=1)
    assert (told["artifacts"], told["kept"]) == ([], 5)


def test_everything_goes_only_when_every_job_is_forgotten_by_name(two_jobs: Workspace) -> None:
    with pytest.raises(BadInput, match=r"first\.unlearn, second\.unlearn.*found third"):
        gc(two_jobs, yes=True, forget_jobs=["third"])
    gc(two_jobs, yes=True, forget_jobs=["first", "second"], older_than=0)
    assert two_jobs.all() == []
    assert loaded(two_jobs) == set()


def test_a_workspace_whose_runs_have_said_nothing_is_left_alone(workspace: Workspace) -> None:
    make(workspace, CORPUS)
    with pytest.raises(BadInput, match="everything would go"):
        gc(workspace, yes=True, older_than=0)
    assert workspace.all() == [CORPUS]


def test_nothing_is_removed_while_a_run_goes_on_or_something_is_made(two_jobs: Workspace) -> None:
    with two_jobs.using(run="nightly"), pytest.raises(WorkspaceBusy, match="nightly"):
        gc(two_jobs, yes=True)
    with two_jobs.making(LOGITS), pytest.raises(WorkspaceBusy):
        gc(two_jobs, yes=True)
    assert len(two_jobs.all()) == 5


def test_what_a_killed_removal_left_is_cleared_away(two_jobs: Workspace) -> None:
    left = two_jobs.root / "logits" / f"old-{'7' * 16}"
    left.mkdir(parents=True)
    (left / "logits-0.parquet").write_bytes(b"rest")
    told = gc(two_jobs, yes=True, older_than=0)
    assert told["litter"] == [f"logits/old-{'7' * 16}"]
    assert not left.exists()


def test_signs_of_what_is_being_made_are_no_litter(two_jobs: Workspace) -> None:
    unfinished = Artifact("logits", "first", "9" * 16)
    two_jobs.resume(unfinished)
    two_jobs.signs(unfinished).mkdir(parents=True)
    assert gc(two_jobs)["litter"] == []
    two_jobs.partial(unfinished).rmdir()
    assert gc(two_jobs)["litter"] == [f"making/logits-{'9' * 16}"]


def test_a_part_that_is_left_of_what_another_machine_finished_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, machines = f"memory://{uuid.uuid4().hex}", []
    for name in ("one", "two"):
        monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / name))
        machines.append(open_workspace(url))
    one, two = machines
    left = one.resume(CORPUS)
    make(two, CORPUS)
    two.refer("first.unlearn", [CORPUS])
    assert gc(one, yes=True)["partials"] == [CORPUS.folder]
    assert not left.exists()
    two.verify(CORPUS)


def test_fingerprints_are_found_wherever_they_stand_in_inputs() -> None:
    found = fingerprints_in({"a": "0" * 16, "b": [{"c": f"{'1' * 16}/model"}, 3, None, "text", "2" * 17]})
    assert list(found) == ["0" * 16, "1" * 16]


def test_repair_takes_away_what_is_damaged_and_its_rows_and_says_so(two_jobs: Workspace) -> None:
    folder = two_jobs.path(LOGITS)
    if "://" in two_jobs.address:
        spoilt = f"{LOGITS.folder}/{two_jobs.record(LOGITS)['attempt']}/training_steps.parquet"
        two_jobs.write(spoilt, b"other bytes")
    else:
        (folder / "training_steps.parquet").write_bytes(b"other bytes")
    told = repair(two_jobs)
    damaged = {LOGITS.folder: ["training_steps.parquet"]}
    assert told == {"verified": 5, "damaged": damaged, "repaired": damaged}
    assert "run the job again" in show_verified(told)
    assert LOGITS not in two_jobs.all()
    assert LOGITS.fingerprint not in loaded(two_jobs)
    make(two_jobs, LOGITS)
    refresh(two_jobs)
    assert LOGITS.fingerprint in loaded(two_jobs)
    assert repair(two_jobs) == {"verified": 5, "damaged": {}, "repaired": {}}


def test_an_artifact_whose_record_cannot_be_read_is_taken_away(two_jobs: Workspace) -> None:
    two_jobs.write(f"{LOGITS.folder}/record.json", b'{"kind": "lo')
    assert repair(two_jobs)["repaired"] == {LOGITS.folder: ["record.json"]}
    assert two_jobs.find("logits", LOGITS.fingerprint) is None
    make(two_jobs, LOGITS)
    two_jobs.verify(LOGITS)


def test_every_damaged_artifact_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    made = [Artifact("corpus", "x", str(number) * 16) for number in range(3)]
    for artifact in made:
        (workspace.resume(artifact) / "data.txt").write_text("whole")
        workspace.commit(artifact, {"inputs": {}, "counts": {}, "holds_protected_text": True})
    for artifact in made[1:]:
        (workspace.path(artifact) / "data.txt").write_text("other")
    damaged = {artifact.folder: ["data.txt"] for artifact in made[1:]}
    monkeypatch.setattr(sys, "argv", ["nepenthe", "verify", "--json", "--root", str(tmp_path)])
    assert exit_code() == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == {"verified": 3, "damaged": damaged}
    assert all(artifact.folder in said.err for artifact in made[1:])
    assert "nepenthe verify --repair" in said.err
    sys.argv.append("--repair")
    assert exit_code() == 0
    assert json.loads(capsys.readouterr().out) == {"verified": 3, "damaged": damaged, "repaired": damaged}
