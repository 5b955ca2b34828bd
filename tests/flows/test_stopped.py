"""A run that is told to stop stops, with the stages that it makes at the same time."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

STOP = """
import os, signal, threading, time
from pathlib import Path

def stop():
    root = Path(sys.argv[sys.argv.index("--root") + 1])
    while len(list(root.glob("making/pretrain-*/call-*.json"))) < 2:
        time.sleep(0.05)
    # The kernel may give a process's signal to any thread; the main thread, which waits, does not wake from this.
    signal.pthread_kill(threading.get_ident(), signal.{sign})

# A shell has what it starts in the background ignore SIGINT, tests included.
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=stop, daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT"])
def test_a_run_that_waits_for_two_children_stops_when_it_is_told_to(
    command: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, sign: str
) -> None:
    ended = command("demo", "--root", tmp_path / "root", patch=STOP.format(sign=sign))
    assert ended.returncode in (-getattr(signal, sign), 128 + getattr(signal, sign)), ended.stderr
    assert ended.stderr.count("stopped: the same command goes on from here") == 2
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "root").glob("pretrain/*/record.json"))
    assert subprocess.run(["pgrep", "-f", str(tmp_path)], check=False, capture_output=True).stdout == b""
