"""Orders: an artifact made by whom and where one likes, with the same result; what breaks on the way, and is mended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline, plan
from storage.artifact import Artifact
from storage.errors import BadInput, ChildDied, OutOfMemory, Stopped
from storage.files import Files
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.engine.backends import execute
from tasks.engine.call import StageCall, artifacts_in, make
from tasks.engine.process import SPINS, allow_children, in_child, stop_children
from tasks.engine.runner import Direct, Plan, running
from tasks.engine.stage import Context, Counts, Placement, stage
from tasks.engine.watch import progress_of
from tasks.models import Model, find_model
from tasks.texts import CorpusFiles

Jobs = Callable[..., Path]
Runs = Callable[..., Direct]


@stage("hungry", version=1, heavy=True)
def hungry(context: Context, room: int) -> Counts:
    """Takes 16 TiB of memory a block beyond `room` blocks; really asks for it."""
    done = context.folder / "done"
    tried = done.read_text() if done.exists() else ""
    done.write_text(f"{tried}{context.placement.micro_batch} ")
    if context.placement.micro_batch > room:
        torch.empty(context.placement.micro_batch << 44, dtype=torch.uint8)
    return {"batch": context.placement.micro_batch}


@stage("spinning", version=1, heavy=True)
def spinning(context: Context) -> Counts:
    """What its environment says of waiting threads."""
    return {"spins": os.environ["GOMP_SPINCOUNT"]}


@stage("fallen", version=1, heavy=True)
def fallen(context: Context) -> Counts:
    """Is killed in the middle of its first attempt."""
    half = context.folder / "half"
    if half.exists():
        return {"attempts": 2}
    half.touch()
    os.kill(os.getpid(), 9)
    return {}


@stage("refusing", version=1, heavy=True)
def refusing(context: Context) -> Counts:
    """Finds its input bad."""
    raise BadInput("expected something else, found this")


@stage("reading", version=1)
def reading(context: Context, files: Files | None, model: Model | None) -> Counts:
    """Takes what a user keeps elsewhere."""
    return {}


def call_of(stage: Any, workspace: Workspace, *args: Any, **placement: Any) -> StageCall:
    inputs = stage.inputs(*args)
    where = Placement(device="cpu", **placement)
    return StageCall(stage, stage.artifact("some", inputs), inputs, workspace.address, where)


def files_and_model(kind: str, folder: Path, workspace: Workspace) -> tuple[Files | None, Model | None]:
    """What a user's directory of this model is to a stage that takes it as this kind of input."""
    model = find_model(folder, workspace.hashes)
    config = workspace.hashes.files([folder / "config.json"])
    if kind == "corpus":
        return CorpusFiles.of(config, model.tokenizer, answers_only=True), None
    return (config, None) if kind == "files" else (None, model)


def grow(file: Path) -> None:
    file.write_text(file.read_text() + " ")


@pytest.mark.parametrize("kind", ["files", "corpus", "model"])
def test_what_changes_under_a_run_is_not_taken_for_what_it_was(kind: str, elsewhere: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    call = call_of(reading, workspace, *files_and_model(kind, elsewhere, workspace))

    def change(*_: Any) -> Counts:
        grow(elsewhere / "config.json")
        return {}

    with pytest.raises(BadInput, match=r"expected \S+ as it was when the run began, found it changed: run it again"):
        make(call, change)
    assert workspace.all() == workspace.partials() == []


@pytest.mark.parametrize("kind", ["files", "corpus", "model"])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (grow, "it changed"),
        (Path.unlink, "nothing there"),
        (lambda file: (file.unlink(), file.mkdir()), "nothing there"),
        (lambda file: (shutil.rmtree(file.parent), file.parent.touch()), "nothing there"),
    ],
    ids=["changed", "gone", "a folder", "no folder"],
)
def test_what_is_not_as_it_was_costs_nothing_that_was_made_before(
    kind: str, harm: Callable[[Path], object], said: str, elsewhere: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "ws")
    call = call_of(reading, workspace, *files_and_model(kind, elsewhere, workspace))
    shard = workspace.resume(call.artifact) / "shard"
    shard.write_bytes(b"made by an earlier attempt")
    harm(elsewhere / "config.json")
    with pytest.raises(BadInput, match=rf"expected \S+ as it was when the run began, found {said}"):
        make(call)
    assert shard.read_bytes() == b"made by an earlier attempt"


def test_what_is_taken_away_once_it_was_read_is_no_reason_to_stop(elsewhere: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    call = call_of(reading, workspace, *files_and_model("model", elsewhere, workspace))
    assert make(call, lambda *_: shutil.rmtree(elsewhere) or {}) == call.artifact
    assert workspace.all() == [call.artifact]


def test_a_call_of_every_stage_survives_as_json(make_job: Jobs, tmp_path: Path, direct_run: Runs) -> None:
    job = read_job(make_job(), [])
    workspace = Workspace(tmp_path / "ws")
    planned = plan(job, resolve(job, workspace.hashes), workspace)
    assert len(planned.steps) == 12
    for step in planned.steps:
        call = StageCall(step.stage, step.artifact, step.inputs, workspace.address, job.placement, (1, 4))
        again = StageCall.from_json(json.loads(json.dumps(call.to_json())))
        assert again == call, step.stage.kind


def test_a_call_is_refused_where_it_would_become_something_else(tmp_path: Path) -> None:
    written = call_of(hungry, Workspace(tmp_path), 1).to_json()
    written["inputs"]["room"] = 2
    with pytest.raises(BadInput, match="same version of nepenthe"):
        StageCall.from_json(written)


def test_paths_of_the_workspace_follow_it_to_another_machine(make_job: Jobs, tmp_path: Path) -> None:
    job = read_job(make_job(), [])
    workspace = Workspace(tmp_path / "here")
    planned = plan(job, resolve(job, workspace.hashes), workspace)
    step = next(step for step in planned.steps if step.stage.kind == "logits")
    written = StageCall(step.stage, step.artifact, step.inputs, workspace.address, job.placement).to_json()
    there = StageCall.from_json(written | {"address": str(tmp_path / "there")})
    assert Path(there.inputs["reinforced"].path).is_relative_to(tmp_path / "there")
    assert there.inputs["baseline"].path == step.inputs["baseline"].path, "the user's own model stays where it is"
    assert {found.kind for found in artifacts_in(there.inputs)} == {"blocks", "reinforce"}


@pytest.mark.parametrize("isolation", ["inline", pytest.param("process", marks=pytest.mark.slow)])
def test_out_of_memory_halves_the_batch_until_it_fits(tmp_path: Path, isolation: str) -> None:
    call = call_of(hungry, Workspace(tmp_path), 2, micro_batch=8, isolation=isolation)
    told: list[int] = []
    execute(call, lambda smaller: told.append(smaller.placement.micro_batch))
    assert told == [4, 2]
    assert (call.workspace.path(call.artifact) / "done").read_text() == "8 4 2 "
    assert call.workspace.record(call.artifact)["counts"] == {"batch": 2}


def test_what_does_not_fit_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"expected memory for 1 blocks at a time \(placement.micro_batch\)"):
        execute(call_of(hungry, Workspace(tmp_path), 0, micro_batch=2, isolation="inline"))


@pytest.mark.slow
def test_a_killed_child_is_named_and_the_next_goes_on(tmp_path: Path) -> None:
    call = call_of(fallen, Workspace(tmp_path))
    with pytest.raises(ChildDied, match="SIGKILL"):
        in_child(call)
    in_child(call)
    assert call.workspace.record(call.artifact)["counts"] == {"attempts": 2}


@pytest.mark.slow
def test_a_child_s_refusal_is_the_parent_s(tmp_path: Path) -> None:
    call = call_of(refusing, Workspace(tmp_path))
    with pytest.raises(BadInput, match=r"^expected something else, found this$"):
        in_child(call)
    assert not call.workspace.partial(call.artifact).exists()


@pytest.mark.parametrize("own", [None, "7"])
def test_threads_of_a_child_do_not_spin_long_unless_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if own:
        monkeypatch.setenv("GOMP_SPINCOUNT", own)
    call = call_of(spinning, Workspace(tmp_path))
    in_child(call)
    assert call.workspace.record(call.artifact)["counts"] == {"spins": own or SPINS["GOMP_SPINCOUNT"]}


def test_a_child_that_starts_while_its_run_is_stopped_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, start = call_of(refusing, Workspace(tmp_path)), subprocess.Popen

    def stopped_meanwhile(*args: Any, **how: Any) -> "subprocess.Popen[bytes]":
        child = start([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        stop_children()
        return child

    monkeypatch.setattr(subprocess, "Popen", stopped_meanwhile)
    try:
        with pytest.raises(Stopped):
            in_child(call)
    finally:
        allow_children()


def test_ctrl_c_that_another_thread_received_ends_the_wait_for_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, start = call_of(refusing, Workspace(tmp_path)), subprocess.Popen
    sender = threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def asleep(*args: Any, **how: Any) -> "subprocess.Popen[bytes]":
        sender.start()
        return start([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

    monkeypatch.setattr(subprocess, "Popen", asleep)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_child(call)
    finally:
        signal.signal(signal.SIGINT, previous)


def test_a_run_that_was_stopped_starts_no_child_and_the_next_one_does(tmp_path: Path) -> None:
    call = call_of(refusing, Workspace(tmp_path))
    stop_children()
    try:
        with pytest.raises(Stopped, match="goes on from here"):
            in_child(call)
        with (
            pytest.raises(BadInput, match="expected something else"),
            running(Plan(call.workspace, "some"), Placement()),
        ):
            in_child(call)
    finally:
        allow_children()


def rows(run: Direct, query: str) -> list[tuple[Any, ...]]:
    with open_tables(run.workspace, write=False) as tables:
        found: list[tuple[Any, ...]] = tables.execute(query).fetchall()
    return found


LABELS = "SELECT block_id, position, label, reason FROM labels ORDER BY ALL"


@pytest.mark.slow
def test_parts_of_the_logits_are_the_logits(make_job: Jobs, direct_run: Runs, tmp_path: Path) -> None:
    job = read_job(make_job(documents=12), [])
    whole, parts = direct_run(tmp_path / "whole"), direct_run(tmp_path / "parts", workers=3)
    for run in (whole, parts):
        pipeline(job, resolve(job, run.workspace.hashes), run)
    assert rows(whole, LABELS) == rows(parts, LABELS)
    logits = [next(step.artifact for step in run.steps if step.artifact.kind == "logits") for run in (whole, parts)]
    assert logits[0] == logits[1]
    names = [sorted(run.workspace.record(logits[0])["files"]) for run in (whole, parts)]
    assert names[0] == names[1]
    costs = "SELECT stage, shard, tokens FROM metrics WHERE stage = 'logits' ORDER BY ALL"
    assert rows(whole, costs) == rows(parts, costs) != []


@pytest.mark.slow
def test_a_part_leaves_the_other_shards_to_others(make_job: Jobs, direct_run: Runs, tmp_path: Path) -> None:
    job = read_job(make_job(documents=12), [])
    run = direct_run(tmp_path / "ws")
    given = resolve(job, run.workspace.hashes)
    pipeline(job, given, run)
    step = next(step for step in run.steps if step.artifact.kind == "logits")
    made = step.artifact
    shards = {file for file in run.workspace.record(made)["files"] if file.startswith("logits")}
    run.workspace.remove(made)
    call = StageCall(step.stage, made, step.inputs, run.workspace.address, job.placement, (1, 2))
    make(call)
    second_half = {file.name for file in run.workspace.partial(made).glob("logits-*")}
    assert second_half == set(sorted(shards)[1::2])
    make(replace(call, part=(0, 1)))
    assert {file for file in run.workspace.record(made)["files"] if file.startswith("logits")} == shards


@pytest.mark.slow
def test_a_flipped_byte_is_found_and_only_its_shard_is_made_again(
    make_job: Jobs, direct_run: Runs, tmp_path: Path
) -> None:
    job = read_job(make_job(documents=12), [])
    first = direct_run(tmp_path / "ws")
    given = resolve(job, first.workspace.hashes)
    pipeline(job, given, first)
    before = rows(first, LABELS)
    made = next(step.artifact for step in first.steps if step.artifact.kind == "logits")
    folder = first.workspace.path(made)
    shards = sorted(folder.glob("label_curves-*.parquet"))
    damaged, sound = shards[0], shards[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    untouched = sound.stat().st_mtime_ns

    again = direct_run(tmp_path / "ws")
    other = job.model_copy(update={"labels": job.labels.model_copy(update={"alpha": 2.0})})
    pipeline(other, given, again)  # another alpha reads the shards again
    assert made in [step.artifact for step in again.steps if not step.cached]
    first.workspace.verify(made)
    assert (folder / sound.name).stat().st_mtime_ns == untouched
    events = [json.loads(line) for line in (tmp_path / "ws" / "logs" / "runs.jsonl").read_text().splitlines()]
    assert [one["message"] for one in events if one["event"] == "damaged"] == [damaged.name]
    chosen = (
        f"SELECT block_id, position, label, reason FROM labels(5) WHERE artifact = '{made.fingerprint}' ORDER BY ALL"
    )
    assert rows(again, chosen) == before
    assert rows(again, "SELECT artifact, shard, count(*) FROM loads GROUP BY ALL HAVING count(*) > 1") == []


def test_whoever_comes_second_waits_and_finds_it_done(tmp_path: Path) -> None:
    call = call_of(hungry, Workspace(tmp_path), 9, isolation="inline")
    ended: list[Artifact] = []
    with call.workspace.making(call.artifact):
        second = threading.Thread(target=lambda: ended.append(make(replace(call, wait=20))))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert not ended
    second.join()
    assert ended == [call.artifact]


def test_progress_can_be_seen_from_another_process(tmp_path: Path) -> None:
    workspace, artifact = Workspace(tmp_path), Artifact("logits", "some", "0" * 16)
    code = (
        "from tasks.engine.watch import *; import sys\n"
        f"say_progress(Workspace({str(tmp_path)!r}), Artifact('logits', 'some', '{'0' * 16}'), 0, 3, 4)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert progress_of(workspace, artifact) == (3, 4)
