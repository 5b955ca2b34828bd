"""A call carried out in a child process, supervised by its task.

A child that is killed, crashes or runs out of memory fails its own task and nothing else; it dies with its parent. It
imports neither Prefect nor DuckDB's file. What it has to say lies in the workspace: the artifact, or a fault.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from storage import errors
from storage.errors import ChildDied, NepentheError, Stopped
from tasks.engine.call import StageCall, make
from tasks.engine.watch import said, say

PR_SET_PDEATHSIG = 1
STOPPED = "the same command goes on from here"
_children: set["subprocess.Popen[bytes]"] = set()
_stopped = threading.Event()
LOG_TAIL_CHARACTERS = 2000
SPINS = {"GOMP_SPINCOUNT": "1000"}
"""Turns that a thread of torch's waits awake for the others. By default it is some milliseconds of them: wherever other
work holds a core, a training then waits five to ten times as long as it computes (docs/LOG.md)."""
FAULT = 3  # exit code of a child that left a fault


def in_child(call: StageCall) -> None:
    """Make it in a child process. Raises what the making raised, or ChildDied with the end of its log."""
    if _stopped.is_set():
        raise Stopped(STOPPED)
    workspace, artifact = call.workspace, call.artifact
    log = workspace.child_log(artifact)
    log.parent.mkdir(parents=True, exist_ok=True)
    written = workspace.signs(artifact) / f"call-{call.part[0]}.json"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(call.to_json()), encoding="utf-8")
    threads = call.placement.threads
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tasks.engine.process", str(written), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=SPINS | os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        )
    _children.add(child)
    try:
        if _stopped.is_set():  # while it started, so `stop_children` did not see it
            _end(child)
        while (code := child.poll()) is None:
            _wait(child)
    finally:
        _end(child)
        _children.discard(child)
    if _stopped.is_set():
        raise Stopped(STOPPED)
    if code == FAULT and (fault := said(workspace, artifact, f"fault-{call.part[0]}")):
        raise getattr(errors, fault["error"])(fault["message"])
    if code:
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
        raise ChildDied(f"the child process ended with {cause}; the end of {log}:\n{tail}")


def _wait(child: "subprocess.Popen[bytes]") -> None:
    """A second at a time: what a signal means is done between two waits, where another thread received it."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(1.0)


def allow_children() -> None:
    """For a run that begins: one before it, in the same process, may have been told to stop."""
    _stopped.clear()


def stop_children() -> None:
    """For a run that is told to stop: its threads wait for children, and would let them finish first."""
    _stopped.set()
    for child in list(_children):
        _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Leave no process behind, data loaders of the child included."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def main(written: str, parent: str) -> int:
    """The child's side."""
    die_with(int(parent))
    call = StageCall.from_json(json.loads(Path(written).read_text(encoding="utf-8")))
    try:
        make(call)
    except NepentheError as error:
        fault = f"fault-{call.part[0]}"
        say(call.workspace, call.artifact, fault, error=type(error).__name__, message=str(error))
        return FAULT
    return 0


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the request above


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
