"""What Prefect and our own book-keeping cost: a warm run beside an empty flow, each in a process of its own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep

import httpx
import pytest

EMPTY = """
import sys
from flows.cli import quiet_engines
from flows.cli.guard import guard_run
quiet_engines(); guard_run()
from prefect import flow
flow(lambda: None, name="empty")()
sys.exit()
"""


def test_a_warm_run_beside_an_empty_flow(
    command: Callable[..., "subprocess.CompletedProcess[str]"],
    make_job: Callable[..., Path],
    tmp_path: Path,
    seconds: Callable[..., float],
    record: Callable[..., None],
) -> None:
    job, root = make_job(), tmp_path / "ws"
    assert command("unlearn", job, "--root", root).returncode == 0

    def warm() -> None:
        ended = command("unlearn", job, "--root", root)
        assert ended.stderr.count("cached") == 12, ended.stderr

    def empty() -> None:
        assert command(patch=EMPTY).returncode == 0

    pairs = [(seconds(empty), seconds(warm)) for _ in range(6)][1:]
    record("warm_run_seconds", [of_run - of_flow for of_flow, of_run in pairs], 1.0)
    print(
        f"\nempty flow and warm run, seconds: {', '.join(f'{of_flow:.1f} {of_run:.1f}' for of_flow, of_run in pairs)}"
    )


def test_what_of_a_demo_is_not_work(
    command: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, server: str
) -> None:
    """The demo on a running server: its flow's time beside the time in which at least one stage was being made."""
    root = tmp_path / "ws"
    started = perf_counter()
    ended = command("demo", "--root", root, environment={"PREFECT_API_URL": server})
    whole = perf_counter() - started
    assert ended.returncode == 0, ended.stderr
    flow, stages = flow_seconds(server), busy_seconds(root / "logs" / "runs.jsonl")
    print(
        f"\ndemo: process {whole:.1f} s, its flow {flow:.1f} s, in stages {stages:.1f} s: "
        f"{100 * (1 - stages / flow):.1f} % of the flow is not work, {whole - flow:.1f} s to start and end"
    )


def busy_seconds(journal: Path) -> float:
    """Seconds in which at least one stage was being made."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    at = {
        event: {line["artifact"]: datetime.fromisoformat(line["at"]) for line in lines if line["event"] == event}
        for event in ("started", "made")
    }
    busy, until = 0.0, datetime.fromtimestamp(0, UTC)
    for artifact, start in sorted(at["started"].items(), key=lambda item: item[1]):
        end = at["made"][artifact]
        busy += max(0.0, (end - max(start, until)).total_seconds())
        until = max(until, end)
    return busy


def flow_seconds(server: str) -> float:
    """Seconds of the server's one demo run."""
    asked = {"flows": {"name": {"any_": ["demo"]}}}
    (run,) = httpx.post(f"{server}/flow_runs/filter", json=asked).raise_for_status().json()
    start, end = (datetime.fromisoformat(run[name]) for name in ("start_time", "end_time"))
    return (end - start).total_seconds()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A Prefect server on a sqlite of its own; its API's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = os.environ | {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    told.pop("PREFECT_API_URL", None)
    start = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        program = subprocess.Popen(start, env=told, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(240):
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            sleep(0.5)
        yield url
    finally:
        program.terminate()
        program.wait()
