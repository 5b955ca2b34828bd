"""The thread that watches a making outlives whatever happens to the folder that it looks into."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact
from storage.shards import write_shard
from storage.tables import open_tables
from tasks.engine import watch as watching
from tasks.engine.runner import Direct
from tasks.engine.stage import Context, Counts, stage
from tasks.engine.watch import Watch

ROW = {"step": 1, "loss": 0.5, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 1.0}


def steps_in(run: Direct) -> list[int]:
    with open_tables(run.workspace, write=False) as tables:
        return [step for (step,) in tables.execute("SELECT step FROM training_steps ORDER BY step").fetchall()]


def test_a_folder_that_gets_its_name_while_it_is_listed_ends_no_watch(
    direct_run: Callable[..., Direct], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scandir, looking = os.scandir, threading.Event()

    def late(folder: Any = ".") -> Any:
        """Opens a folder only when it has been renamed."""
        if str(folder).endswith(".partial") and threading.current_thread() is not threading.main_thread():
            looking.set()
            while Path(folder).exists():
                time.sleep(0.001)
        return scandir(folder)

    @stage("training", version=1)
    def training(context: Context) -> Counts:
        write_shard(context.folder / "training_steps.parquet", [ROW])
        assert looking.wait(60)
        return {}

    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(os, "scandir", late)
    run = direct_run()
    run(training)
    assert steps_in(run) == [1]
    assert caplog.text == ""


def test_what_goes_wrong_with_looking_is_said_and_looked_at_again(
    direct_run: Callable[..., Direct], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    look, seen = Watch._load_finished, threading.Event()
    looks: list[Watch] = []

    def fails_once(watch: Watch) -> None:
        looks.append(watch)
        if len(looks) == 1:
            raise OSError("stale file handle")
        look(watch)

    @stage("training", version=1)
    def patient(context: Context, number: int) -> Counts:
        write_shard(context.folder / "training_steps.parquet", [ROW | {"step": number}])
        assert seen.wait(60)
        return {}

    monkeypatch.setattr(watching, "LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(Watch, "_load_finished", fails_once)
    run = direct_run()
    load = run.load
    monkeypatch.setattr(run, "load", lambda artifact, shard: (load(artifact, shard), seen.set()))
    run(patient, 7)
    assert steps_in(run) == [7]
    assert "not watched just now: OSError: stale file handle" in caplog.text


@pytest.mark.parametrize("kind", ["retained_labels", "side-effects", "logits"])
def test_prefect_takes_the_key_of_every_stage_s_bar(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.artifacts import ProgressArtifact
    from prefect.context import FlowRunContext

    monkeypatch.setattr(FlowRunContext, "get", lambda: object())
    monkeypatch.setattr(
        "prefect.artifacts.create_progress_artifact",
        lambda progress, key, description: ProgressArtifact(progress=progress, key=key, description=description),
    )
    bar = watching.draw_bar(None, Artifact(kind, "some", "0" * 16), 50.0)
    assert bar is not None
    assert not caplog.records
