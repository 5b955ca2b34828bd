"""Heavy stages on a real Ray cluster of one machine, through Prefect's Ray task runner."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import PrefectServer, Program, free_port, until

from storage.tables import open_tables
from storage.workspace import Workspace

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
pytest.importorskip("prefect_ray", reason="needs prefect-ray: pip install 'nepenthe[ray]'")

LABELS = "SELECT block_id, position, label, reason FROM labels ORDER BY ALL"
SEEN = """
import os, sys, time
from pathlib import Path
from prefect import flow
from storage.workspace import Workspace
from tasks.run import running
from tasks.stage import Counts, Placement, Plan, Work, stage

@stage("seen", version=1, heavy=True)
def seen(work: Work, number: int) -> Counts:
    time.sleep(3)  # so that both are at work at the same time
    return {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "none")}

@flow(persist_result=False)
def both(root: str, address: str) -> None:
    names, calls = Plan(Workspace(root), "seen"), [(0,), (1,)]
    names.together(seen, calls)
    with running(names, Placement(workers=2, ray=address, gpus=1)) as run:
        for made in run.together(seen, calls):
            print(run.workspace.record(made)["counts"]["gpus"])

if __name__ == "__main__":
    import stages
    stages.both(*sys.argv[1:])
"""


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory, server: PrefectServer) -> Iterator[str]:
    """The address of a Ray cluster that counts two GPUs. Its workers find the modules of the tests' own folder."""
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    (folder / "stages.py").write_text(SEEN)
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
    resources = ["--num-gpus=2", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    env = server.env | {"PYTHONPATH": str(folder), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    program = Program([*command, *resources, f"--temp-dir={folder}"], folder / "ray.log", env).start()
    until(lambda: "Ray runtime started" in program.tail(), f"Ray: {program.tail()}", 90)
    yield f"127.0.0.1:{port}"
    program.end()


def test_the_artifacts_are_the_same_as_without_ray(
    server: PrefectServer, ray: str, make_job: Callable[..., Path], tmp_path: Path
) -> None:
    job = make_job(documents=12)
    placed = {"ray": ray, "gpus": 1, "workers": 2, "isolation": "process"}
    changes = [word for name, value in placed.items() for word in ("--set", f"placement.{name}={json.dumps(value)}")]
    command = [sys.executable, "-m", "flows.cli", "unlearn", str(job), "--root"]
    server.command(*command, tmp_path / "ray", *changes)
    server.command(*command, tmp_path / "plain")
    found = [Workspace(tmp_path / name) for name in ("ray", "plain")]
    assert {one.folder for one in found[0].all()} == {one.folder for one in found[1].all()}
    labels = []
    for workspace in found:
        with open_tables(workspace, write=False) as tables:
            labels.append(tables.execute(LABELS).fetchall())
    assert labels[0] == labels[1]
    made = next(one for one in found[0].all() if one.kind == "logits")
    files = [set(workspace.record(made)["files"]) for workspace in found]
    assert files[0] == files[1]


def test_a_heavy_stage_sees_the_one_gpu_that_ray_gave_it(server: PrefectServer, ray: str, tmp_path: Path) -> None:
    folder = next(path for path in tmp_path.parent.glob("ray*") if (path / "stages.py").exists())
    printed = subprocess.run(
        [sys.executable, folder / "stages.py", tmp_path / "ws", ray],
        env=server.env | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert sorted(printed.split()) == ["0", "1"]
