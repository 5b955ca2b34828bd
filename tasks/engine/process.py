"""A call carried out in a child process, supervised by its task.

A child that is killed, crashes or runs out of memory fails its own task and nothing else; it dies with its parent. It
imports neither Prefect nor DuckDB's file. What it has to say lies in the workspace: the artifact, or a fault.

A stage that only reads its models, which are to be divided, runs whole on every one of this machine's ranks, each with
its share of the weights (tensor parallelism): all do the same, and the first one's files are kept.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from storage import errors
from storage.errors import ChildDied, NepentheError, Stopped
from storage.files import listed
from tasks.engine.call import StageCall, body, make
from tasks.engine.ranks import as_rank, die_with, folder_of_ranks, launch
from tasks.engine.stage import Context, Counts, divide_models
from tasks.engine.watch import said, say, say_progress

MODULE = "tasks.engine.process"  # which may be running as __main__
CALL, COUNTS = "call.json", "counts.json"
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
    workspace, artifact, sign = call.workspace, call.artifact, f"call-{call.part[0]}"
    log, threads = workspace.child_log(artifact), call.placement.threads
    log.parent.mkdir(parents=True, exist_ok=True)
    say(workspace, artifact, sign, call=call.to_json())
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(workspace.signs(artifact) / f"{sign}.json"), str(os.getpid())],
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
            # A second at a time: what a signal means is done between two waits, where another thread received it.
            with suppress(subprocess.TimeoutExpired):
                child.wait(1.0)
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
    call = StageCall.from_json(json.loads(Path(written).read_text(encoding="utf-8"))["call"])
    try:
        make(call, carry_out)
    except NepentheError as error:
        fault = f"fault-{call.part[0]}"
        say(call.workspace, call.artifact, fault, error=type(error).__name__, message=str(error))
        return FAULT
    return 0


def carry_out(call: StageCall, context: Context) -> Counts:
    """The body of a stage, here or on the ranks that its models are divided over."""
    divided = call.stage.reads and call.placement.sharded and call.placement.ranks > 1
    return (on_ranks if divided else body)(call, context)


def on_ranks(call: StageCall, context: Context) -> Counts:
    """Carry out a stage's body on this machine's ranks, each with its share of the models."""
    with folder_of_ranks(context.folder, f"-{call.part[0]}") as folder:
        for number in range(1, call.placement.ranks):
            mirror(context.folder, folder / str(number))
        (folder / CALL).write_text(json.dumps(call.to_json()), encoding="utf-8")
        launch(call.placement.model_copy(update={"nodes": 1}), folder, MODULE)
        counts: Counts = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    return counts


def mirror(folder: Path, copy: Path) -> None:
    """What an earlier attempt has finished, without its bytes, for a rank that shall find it done as well."""
    copy.mkdir()
    for file in listed(folder, "[!.]*.*"):
        with suppress(FileNotFoundError):  # another part's, which has just got its final name
            os.link(file, copy / file.name)


class Beside(Context):
    """Of a rank whose files nobody keeps."""

    def checkpoint(self, finished: Path) -> None:
        """Nothing: the first rank says it."""


def body_on_rank(folder: Path) -> None:
    """A stage's body, as every rank runs it."""
    call, number = StageCall.from_json(json.loads((folder / CALL).read_text())), int(os.environ["LOCAL_RANK"])
    divide_models()
    if number:
        body(call, Beside(folder / str(number), call.workspace, call.artifact, call.placement, call.part))
        return
    progress = partial(say_progress, call.workspace, call.artifact, call.part[0])
    context = Context(folder.parent, call.workspace, call.artifact, call.placement, call.part, progress)
    (folder / COUNTS).write_text(json.dumps(body(call, context)), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "rank":
        as_rank(body_on_rank, *sys.argv[2:])
    sys.exit(main(*sys.argv[1:]))
