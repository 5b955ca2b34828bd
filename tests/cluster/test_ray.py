"""Heavy stages on a real Ray cluster of one machine, through Prefect's Ray task runner."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comparing import assert_same, journal
from servers import PrefectServer, Program, free_port, until

from storage.workspace import Workspace

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
pytest.importorskip("prefect_ray", reason="needs prefect-ray: pip install 'nepenthe[ray]'")

UNLEARN = """
import json, sys
from flows.job import job_of
from flows.unlearn import unlearn
unlearn(job_of(json.loads(sys.argv[1])), sys.argv[2])
"""
SEEN = """
import os, sys, time
from pathlib import Path
from prefect import flow
from storage.workspace import Workspace
from tasks.engine.runner import Plan, running
from tasks.engine.stage import Counts, Context, Placement, stage

@stage("seen", version=1, heavy=True)
def seen(context: Context, number: int) -> Counts:
    time.sleep(3)  # so that both are at work at the same time
    return {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "none")}

@flow(persist_result=False)
def both(root: str, address: str) -> None:
    names, calls = Plan(Workspace(root), "seen"), [(0,), (1,)]
    names.map(seen, calls)
    with running(names, Placement(workers=2, ray=address, gpus=1)) as run:
        for made in run.map(seen, calls):
            print(run.workspace.record(made)["counts"]["gpus"])

if __name__ == "__main__":
    import stages
    stages.both(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory, prefect: PrefectServer) -> Iterator[str]:
    """The address of a Ray cluster that counts two GPUs. Its workers find the modules of the tests' own folder."""
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    (folder / "stages.py").write_text(SEEN)
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    resources = ["--num-gpus=2", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    env = prefect.env | {"PYTHONPATH": str(folder), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    program = Program([*command, *resources, f"--temp-dir={folder}"], folder / "ray.log", env).start()
    until(lambda: "Ray runtime started" in program.tail(), f"Ray: {program.tail()}", 90)
    yield f"127.0.0.1:{port}"
    program.end()


def test_shards_and_evaluations_are_the_same_on_many_workers(
    prefect: PrefectServer,
    ray: str,
    job: dict[str, Any],
    without: Callable[..., Path],
    undisturbed: Path,
) -> None:
    """Shards in two parts, and the evaluations: two at a time, each with one GPU."""
    root = without("logits", "evaluation")
    placed = {"deployment": "", "ray": ray, "gpus": 1, "workers": 2, "isolation": "process", "threads": 1}
    asked = job | {"placement": job["placement"] | placed}
    prefect.command(sys.executable, "-c", UNLEARN, json.dumps(asked), root)
    assert_same(root, undisturbed)
    removed = Counter(one.kind for one in Workspace(undisturbed).all() if one.kind in ("logits", "evaluation"))
    assert journal(root, "made") == removed


def test_a_heavy_stage_sees_the_one_gpu_that_ray_gave_it(prefect: PrefectServer, ray: str, tmp_path: Path) -> None:
    folder = next(path for path in tmp_path.parent.glob("ray*") if (path / "stages.py").exists())
    printed = subprocess.run(
        [sys.executable, folder / "stages.py", tmp_path / "ws", ray],
        env=prefect.env | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert sorted(printed.split()) == ["0", "1"]
