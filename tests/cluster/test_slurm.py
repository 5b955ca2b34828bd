"""The gpu pool's work as jobs of a real Slurm: preempted, put back into the queue, finished from a checkpoint."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from comparing import assert_same
from servers import DEPLOY, Api, Missing, PrefectServer, Program, Slurm, until

from storage.tables import open_tables
from storage.workspace import Workspace

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slurm(place: Path) -> Iterator[Slurm]:
    """Slurm with one node and one GPU."""
    (place / "slurm").mkdir()
    try:
        slurm = Slurm(place / "slurm")
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        yield slurm.start()
    finally:
        slurm.end()


@pytest.fixture(scope="module")
def login_node(slurm: Slurm, prefect: PrefectServer, workers: Callable[..., Program]) -> Iterator[Program]:
    """The gpu pool's worker where jobs are submitted, and a worker of the cpu pool."""
    workers("cpu")
    prefect.command(sys.executable, DEPLOY / "pools.py", "slurm")
    yield workers("gpu", slurm.env)
    prefect.command(sys.executable, DEPLOY / "pools.py")


def test_a_preempted_job_is_requeued_and_finishes_from_its_last_checkpoint(
    api: Api, slurm: Slurm, login_node: Program, job: dict[str, Any], undisturbed: Path, here: Callable[..., Path]
) -> None:
    """A job of a partition with a higher priority takes the one GPU away in the middle of the training."""
    long = job | {
        "student": job["student"] | {"steps": 300, "keep": [300]},
        "placement": job["placement"] | {"checkpoint_seconds": 0.2},
    }
    root, expected = (Path(shutil.copytree(undisturbed, undisturbed.with_name(name))) for name in ("slurmed", "whole"))
    here(long, expected)
    run = api.start(long, root)
    until(lambda: checkpoints(root), "the training to be under way", 90, every=0.05)
    preempted = slurm.told("squeue", "-h", "-o", "%i")
    hold(preempted)  # however long Slurm takes to preempt; it continues what it ends
    assert "Submitted" in slurm.told("sbatch", "--partition=urgent", "--gres=gpu:1", "--output=/dev/null", "--wrap=:")
    until(lambda: slurm.told("squeue", "-h", "-j", preempted, "-o", "%t") == "PD", "the preempted job in the queue")
    (stage,) = api.stages(root, "student")
    assert stage["state_name"] == "Running"
    slurm.told("scontrol", "update", f"JobId={preempted}", "StartTime=now")  # Slurm itself waits for two minutes
    assert api.ends(run, 180) == "Completed", slurm.tail()
    assert [one["id"] for one in api.stages(root, "student")] == [stage["id"]], "another run finished it"
    assert "Restarts=1" in slurm.told("scontrol", "show", "job", preempted)
    assert resumed(root)
    assert_same(root, expected)


def hold(slurm_job: str) -> None:
    """Stop a job's processes where they are."""
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("SLURM_JOB_ID") == slurm_job:
            process.suspend()


def checkpoints(root: Path) -> list[Path]:
    """What there is of a training that goes on."""
    return [path for one in Workspace(root).partials() for path in Workspace(root).partial(one).rglob("checkpoint*")]


def resumed(root: Path) -> bool:
    """Whether a training's clock began anew after its first step."""
    again = "SELECT count(*) FROM (SELECT seconds < lag(seconds) OVER (PARTITION BY artifact ORDER BY step) AS again"
    with open_tables(Workspace(root), write=False, patience=30) as tables:
        (found,) = tables.execute(f"{again} FROM training_steps) WHERE again").fetchall()[0]
    return bool(found)
