"""What Prefect and our own book-keeping cost: a warm run beside an empty flow, each in a process of its own."""

import subprocess
from collections.abc import Callable
from pathlib import Path

EMPTY = """
import sys
from flows.cli import quiet_engines
from flows.guard import guard_run
quiet_engines(); guard_run()
from prefect import flow
flow(lambda: None, name="empty")()
sys.exit()
"""


def test_a_warm_run_beside_an_empty_flow(
    command: Callable[..., "subprocess.CompletedProcess[str]"],
    make_job: Callable[..., Path],
    tmp_path: Path,
    paired: Callable[..., dict[str, float]],
) -> None:
    job, root = make_job(), tmp_path / "ws"
    assert command("unlearn", job, "--root", root).returncode == 0

    def warm() -> None:
        ended = command("unlearn", job, "--root", root)
        assert ended.stderr.count("cached") == 12, ended.stderr

    def empty() -> None:
        assert command(patch=EMPTY).returncode == 0

    seconds = paired(rounds=3, warm=warm, empty=empty)
    print(
        f"\nwarm run {seconds['warm']:.1f} s, empty flow {seconds['empty']:.1f} s: "
        f"{seconds['warm'] - seconds['empty']:+.1f} s, ratio {seconds['warm'] / seconds['empty']:.2f}"
    )
