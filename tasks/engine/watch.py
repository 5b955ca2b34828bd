"""What can be seen of a making: signs of life under making/, the journal, and who looks at them.

Signs lie beside the artifacts and never in one, so that the same work leaves the same bytes whoever watched it. The
journal has one JSON object a line, for people, log collectors and `nepenthe status`: at, run, stage, artifact
(fingerprint), shard, event, message. Lines of several processes never mix: each is one append of less than a page.
"""

import json
import logging
import os
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from storage.artifact import Artifact
from storage.errors import WorkspaceBusy
from storage.files import listed, write_atomically
from storage.shards import shards_of
from storage.workspace import Workspace
from tasks.engine.console import Line

WRITE_EVERY_SECONDS = 0.2
LOOK_EVERY_SECONDS = 0.5
SHOW_EVERY_SECONDS = 20.0
_written: dict[Path, float] = {}


def say_progress(workspace: Workspace, artifact: Artifact, part: int, done: float, total: float) -> None:
    """How far a part is, in any unit. Cheap to call often: most calls write nothing."""
    path, now = workspace.signs(artifact) / f"progress-{part}.json", time.monotonic()
    if now - _written.get(path, 0.0) < WRITE_EVERY_SECONDS and done < total:
        return
    _written[path] = now
    _write(path, {"done": done, "total": total})


def progress_of(workspace: Workspace, artifact: Artifact) -> tuple[float, float] | None:
    """Done and total of an artifact that is being made: of its parts, the one that has got furthest."""
    reports = [_read(path) for path in listed(workspace.signs(artifact), "progress-*.json")]
    return max(((one["done"], one["total"]) for one in reports if one), default=None)


def say_fault(workspace: Workspace, artifact: Artifact, part: int, error: Exception) -> None:
    """Leave an error for whoever waits for this making in another process."""
    _write(workspace.signs(artifact) / f"fault-{part}.json", {"error": type(error).__name__, "message": str(error)})


def fault_of(workspace: Workspace, artifact: Artifact, part: int) -> tuple[str, str] | None:
    """The class and the sentence of the error that a part ended with; it is taken away."""
    path = workspace.signs(artifact) / f"fault-{part}.json"
    content = _read(path)
    path.unlink(missing_ok=True)
    return (content["error"], content["message"]) if content else None


def say_waiting(workspace: Workspace, artifact: Artifact, call: float, holder: str) -> None:
    """A call, known by when it was given, waits for another maker of the same."""
    _write(workspace.signs(artifact) / f"waiting-{call}.json", {"holder": holder})


def waiting_of(workspace: Workspace, artifact: Artifact, call: float) -> str | None:
    """Whom a call waits for."""
    content = _read(workspace.signs(artifact) / f"waiting-{call}.json")
    return str(content["holder"]) if content else None


def clear_signs(workspace: Workspace, artifact: Artifact) -> None:
    """The making has ended well."""
    shutil.rmtree(workspace.signs(artifact), ignore_errors=True)


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return content


Event = Literal["started", "waiting", "shard", "made", "cached", "damaged", "smaller batch", "failed"]
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Journal:
    """The journal of one run."""

    workspace: Workspace
    run: str

    def note(self, artifact: Artifact, event: Event, message: str = "", shard: str | None = None) -> None:
        """Append a line."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self.run,
            "stage": artifact.kind,
            "artifact": artifact.fingerprint,
            "shard": shard,
            "event": event,
            "message": message[:LONGEST_MESSAGE],
        }
        path = self.workspace.journal
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        finally:
            os.close(descriptor)


def run_log() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """The log of the task run around us, which the UI shows; outside Prefect an ordinary one."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("nepenthe")


class Watched(Protocol):
    """A run, as far as a watch needs it."""

    workspace: Workspace

    def load(self, artifact: Artifact, shard: Path) -> None:
        """Load a finished shard into the tables. Raises WorkspaceBusy at once."""

    def note(self, artifact: Artifact, event: Event, message: str = "", shard: str | None = None) -> None:
        """Write down what happened."""


class Watch:
    """Looks at an artifact that is being made, wherever that is: progress for people, shards for the tables."""

    def __init__(self, run: Watched, artifact: Artifact, since: float, line: Line) -> None:
        self._run, self._artifact, self._since, self._line = run, artifact, since, line
        self._loaded: set[str] = set()
        self.over = threading.Event()
        self._waits = False
        self._bar: Any = None
        self._drawn = time.monotonic()

    def look_again_and_again(self) -> None:
        """Until it is over, and once more. Whatever goes wrong with looking does not end it, nor what is made."""
        over = False
        while not over:
            over = self.over.wait(LOOK_EVERY_SECONDS)
            try:
                self._look()
            except Exception as error:
                run_log().warning("not watched just now: %s: %s", type(error).__name__, error)

    def _look(self) -> None:
        workspace, artifact = self._run.workspace, self._artifact
        if found := progress_of(workspace, artifact):
            self._line.update(*found)
            self._show(*found)
        if not self._waits and (holder := waiting_of(workspace, artifact, self._since)):
            self._waits = True
            self._line.say(f"waits: {holder}")
            self._run.note(artifact, "waiting", holder)
        if not self._waits:
            self._load_finished()

    def _show(self, done: float, total: float) -> None:
        """A progress bar in the Prefect UI, for what takes its time."""
        now = time.monotonic()
        if total and now - self._drawn >= SHOW_EVERY_SECONDS:
            self._drawn = now
            self._bar = draw_bar(self._bar, self._artifact, 100 * done / total)

    def _load_finished(self) -> None:
        """Shards that are whole; if someone reads the tables just then, later."""
        for shard in shards_of(self._run.workspace.partial(self._artifact)):
            if shard.name in self._loaded:
                continue
            try:
                self._run.load(self._artifact, shard)
            except (WorkspaceBusy, FileNotFoundError):  # or it has just been finished and renamed
                return
            self._loaded.add(shard.name)


def draw_bar(bar: Any, artifact: Artifact, percent: float) -> Any:
    """Make or move a bar; its id. Where the server cannot be reached just now, or there is no run, nothing is drawn."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return None
    try:
        if bar is not None:
            return update_progress_artifact(bar, percent)
        return create_progress_artifact(percent, f"{artifact.kind}-{artifact.fingerprint}", artifact.folder)
    except Exception as error:  # a drawing must not end what it is drawn of
        run_log().warning("no progress bar: %s", error)
        return bar
