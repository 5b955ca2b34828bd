"""A deployed run that waits for a review: suspended by Prefect, approved in the form or by the command, going on."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SERVED = """
from pathlib import Path
from prefect import flow
from flows.unlearn import make_target
from flows.inputs import resolve
from flows.job import Job
from storage.workspace import Workspace
from tasks.engine.console import Progress
from tasks.engine.runner import Run

@flow(persist_result=False)
def words_only(job: Job, root: str) -> None:
    workspace = Workspace(root)
    given = resolve(job, workspace.hashes)
    with workspace.writing():
        run = Run(workspace, job.name, job.placement, Progress(3))
        make_target(job, given, run)

if __name__ == "__main__":
    words_only.serve(name="test")
"""
ASK = """
import sys, json
from prefect.deployments import run_deployment
from flows.job import read_job
from pathlib import Path
job = read_job(Path(sys.argv[1]), [])
run = run_deployment("words-only/test", parameters={"job": job.model_dump(mode="json"), "root": sys.argv[2]}, timeout=0)
print(run.id)
"""
STATE = """
import sys
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.read_flow_run(sys.argv[1]).state.name)
"""
FORM = """
import sys
from prefect.flow_runs import resume_flow_run
resume_flow_run(sys.argv[1], run_input={"decision": "approve", "reviewer": "Bea", "note": "looks right"})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """A Prefect server with the deployment served; gives a function that runs Python beside it."""
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(__file__).parents[2])
    env = os.environ | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PYTHONPATH": root,
    }
    (folder / "served.py").write_text(SERVED)

    def python(code: str, *arguments: object, patience: float = 0) -> str:
        deadline = time.monotonic() + patience
        while True:
            done = subprocess.run(
                [sys.executable, "-c", code, *map(str, arguments)], env=env, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < deadline, done.stderr
            time.sleep(1)

    with (folder / "log").open("w") as log:
        told: dict[str, Any] = {"env": env, "stdout": log, "stderr": log, "cwd": folder}
        started = [subprocess.Popen([sys.executable, "-m", "prefect", "server", "start", "--port", str(port)], **told)]
        try:
            python(f"import httpx; httpx.get('http://127.0.0.1:{port}/api/health').raise_for_status()", patience=120)
            started.append(subprocess.Popen([sys.executable, "served.py"], **told))
            yield python
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(60)


def until(python: Callable[..., str], run: str, *names: str) -> str:
    """Wait for one of these states."""
    deadline = time.monotonic() + 90
    while (state := python(STATE, run)) not in names:
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    return state


@pytest.fixture
def job(make_job: Callable[..., Path]) -> Path:
    file = make_job()
    settings = 'dictionary = { extract = "statistics", review = true }'
    file.write_text(file.read_text().replace('dictionary.curated = ["words.json"]', settings))
    return file


def reviewers(root: Path) -> set[str]:
    from storage.tables import open_tables
    from storage.workspace import Workspace

    with open_tables(Workspace(root), write=False) as tables:
        query = "SELECT DISTINCT decided_by FROM anchor_decisions WHERE decided_by IS NOT NULL"
        return {name for (name,) in tables.execute(query).fetchall()}


def test_a_suspended_run_goes_on_once_it_is_approved(server: Callable[..., str], job: Path, tmp_path: Path) -> None:
    """In one workspace by the form of the UI, in another by the command; a rejected one fails."""
    runs = {how: server(ASK, job, tmp_path / how, patience=60) for how in ("form", "command")}
    for run in runs.values():
        assert until(server, run, "Suspended", "Failed", "Crashed") == "Suspended"
    server(FORM, runs["form"])
    command = "import sys; from flows.cli import main; sys.argv[0] = 'nepenthe'; main()"
    said = server(command, "dictionary", "import", "--approve-rest", "--by", "Ann", "--root", tmp_path / "command")
    assert f"the flow run {runs['command']} goes on" in said
    for run in runs.values():
        assert until(server, run, "Completed", "Failed", "Crashed") == "Completed"
    assert reviewers(tmp_path / "form") == {"Bea"}
    assert reviewers(tmp_path / "command") == {"Ann"}
