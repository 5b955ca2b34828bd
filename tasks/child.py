"""A heavy stage's body in a child process, supervised by its task.

A child that is killed, crashes or runs out of memory fails its own task and nothing else; it dies with its parent. It
imports neither Prefect nor DuckDB's file: it reports on standard output, one JSON object a line, and the parent does
the rest.
"""

import ctypes
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from storage import errors
from storage.workspace import Workspace
from tasks.stage import Counts, Stage, Work

PR_SET_PDEATHSIG = 1
LOG_TAIL_CHARACTERS = 2000


class ChildDied(RuntimeError):
    """The child ended without a result: killed, crashed or out of memory. A retry goes on from its last shard."""


def run_in_child(stage: Stage, work: Work, inputs: dict[str, Any]) -> Counts:
    """Run the stage's body in a child process. Raises what the body raised, or ChildDied with the end of its log."""
    log = work.workspace.root / "logs" / f"{work.folder.name.removesuffix('.partial')}-{stage.kind}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    body = (stage.body.__module__, stage.body.__qualname__)
    order = pickle.dumps((os.getpid(), body, work.folder, work.workspace.root, work.placement, inputs))
    with log.open("ab") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "tasks.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            env=os.environ | ({"OMP_NUM_THREADS": str(work.placement.threads)} if work.placement.threads else {}),
        )
    try:
        return _supervise(child, order, work, log)
    finally:
        _end(child)


def _supervise(child: "subprocess.Popen[bytes]", order: bytes, work: Work, log: Path) -> Counts:
    assert child.stdin  # both are pipes, see above
    assert child.stdout
    with child.stdin as stdin:
        stdin.write(order)
    for line in child.stdout:
        message = json.loads(line)
        if "counts" in message:
            counts: Counts = message["counts"]
            return counts
        if "error" in message:
            raise getattr(errors, message["error"])(message["message"])
        work.report(message)
    code = child.wait()
    cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    tail = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
    raise ChildDied(f"the child process ended with {cause}; the end of {log}:\n{tail}")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Leave no process behind, data loaders of the child included."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout:
        child.stdout.close()


def main() -> None:
    """The child's side: one order on standard input, reports on standard output."""
    parent, (module, name), folder, root, placement, inputs = pickle.load(sys.stdin.buffer)
    _die_with(parent)
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break the protocol
    lock = threading.Lock()
    work = Work(folder, Workspace(root), placement, lambda message: _send(reports, lock, message))
    stage: Stage = getattr(importlib.import_module(module), name)
    try:
        work.report({"counts": stage.body(work, **inputs)})
    except errors.NepentheError as error:
        work.report({"error": type(error).__name__, "message": str(error)})


def _send(reports: IO[str], lock: threading.Lock, message: dict[str, Any]) -> None:
    with lock:
        reports.write(json.dumps(message) + "\n")


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the request above


if __name__ == "__main__":
    main()
