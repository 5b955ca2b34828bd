"""One set of servers for all tests here, and a job whose undisturbed run is known."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from servers import DEPLOY, Api, Missing, Postgres, PrefectServer, Program

from storage.opening import open_workspace

# Shards of one block, and a checkpoint at every step: there is a moment in which to break things.
CHANGES = [
    "blocks.length=32",
    "reinforce={length=32, batch=4, epochs=1, learning_rate=1e-3}",
    "logits.shard_blocks=1",
    "student={steps=60, keep=[60], batch=4, learning_rate=1e-3}",
    "placement.micro_batch=1",
    "placement.deployment='stage/gpu'",
]


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="nepenthe-cluster-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(place: Path) -> Iterator[Postgres]:
    """PostgreSQL, running."""
    (place / "postgres").mkdir()
    try:
        database = Postgres(place / "postgres")
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        yield database.start()
    finally:
        database.end()


@pytest.fixture(scope="session")
def prefect(place: Path, postgres: Postgres) -> Iterator[PrefectServer]:
    """A Prefect server with pools and deployments, made by the commands of the operating guide."""
    (place / "prefect").mkdir()
    server = PrefectServer(place / "prefect", postgres.url)
    try:
        server.start()
        server.command(sys.executable, DEPLOY / "pools.py")
        server.command(DEPLOY / "deploy.sh", env={"NEPENTHE_ROOT": str(place / "root")})
        yield server
    finally:
        server.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def api(prefect: PrefectServer) -> Iterator[Api]:
    """The server's API."""
    with closing(Api(prefect.url)) as api:
        yield api


@pytest.fixture(scope="session")
def workers(prefect: PrefectServer) -> Iterator[Callable[..., Program]]:
    """Give a pool its worker; one that it has already stays, unless the environment is another one."""
    at_work: dict[str, tuple[Program, object]] = {}

    def worker(pool: str, env: dict[str, str] | None = None) -> Program:
        known, told = at_work.get(pool, (None, None))
        if known and known.runs and told == env:
            return known
        if known:
            known.end()
        at_work[pool] = prefect.worker(pool, f"{pool}-{len(at_work)}", env), env
        return at_work[pool][0]

    try:
        yield worker
    finally:
        for known, _ in at_work.values():
            known.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def job(place: Path, write_job: Callable[..., Path]) -> dict[str, Any]:
    """The job as a deployment's parameter."""
    from flows.job import read_job

    (place / "job").mkdir()
    found: dict[str, Any] = read_job(write_job(place / "job", documents=20), CHANGES).model_dump(mode="json")
    return found


@pytest.fixture(scope="session")
def undisturbed(place: Path, job: dict[str, Any]) -> Path:
    """The workspace of the job's run in one process, without any server."""
    return run_here(job, place / "undisturbed")


def run_here(job: dict[str, Any], root: Path) -> Path:
    """Run a job in this process, and return its workspace."""
    from flows.inputs import resolve
    from flows.job import job_of
    from flows.unlearn import pipeline, plan
    from storage.tables import refresh
    from tasks.engine.console import Progress
    from tasks.engine.runner import Direct

    asked, workspace = job_of(job | {"placement": job["placement"] | {"deployment": ""}}), open_workspace(root)
    given = resolve(asked, workspace.hashes)
    planned = plan(asked, given, workspace)
    with workspace.using():
        refresh(workspace)
        pipeline(asked, given, Direct(workspace, asked.name, asked.placement, Progress(planned.calls)))
    return root


@pytest.fixture(scope="session")
def here() -> Callable[[dict[str, Any], Path], Path]:
    """`run_here`, for tests."""
    return run_here


@pytest.fixture(scope="session")
def without(undisturbed: Path, place: Path) -> Callable[..., Path]:
    """A copy of the undisturbed workspace in which artifacts of these kinds are still to be made."""

    def copy(*kinds: str) -> Path:
        root = Path(tempfile.mkdtemp(prefix="-".join(kinds), dir=place)) / "workspace"
        shutil.copytree(undisturbed, root, ignore=shutil.ignore_patterns("logs"))
        workspace = open_workspace(root)
        for artifact in workspace.all():
            if artifact.kind in kinds:
                workspace.remove(artifact)
        return root

    return copy
