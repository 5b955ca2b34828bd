"""What can be seen of a making: signs of life under making/, the journal, and who looks at them.

Signs lie beside the artifacts and never in one, so that the same work leaves the same bytes whoever watched it. The
journal has one JSON object a line, for people, log collectors and `nepenthe status`: at, run, stage, artifact
(fingerprint), shard, event, message. Lines of several processes never mix: each is one append of less than a page.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from storage.artifact import Artifact
from storage.errors import WorkspaceBusy
from storage.files import listed, write_atomically
from storage.shards import shards_of
from storage.workspace import Workspace
from tasks.engine.console import Line

WRITE_EVERY_SECONDS = 0.2
LOOK_EVERY_SECONDS = 0.5
SHOW_EVERY_SECONDS = 20.0
_written: dict[tuple[Path, int], float] = {}


def say_progress(workspace: Workspace, artifact: Artifact, part: int, done: float, total: float) -> None:
    """How far a part is, in any unit. Cheap to call often: most calls write nothing."""
    key, now = (workspace.signs(artifact), part), time.monotonic()
    if now - _written.get(key, 0.0) < WRITE_EVERY_SECONDS and done < total:
        return
    _written[key] = now
    say(workspace, artifact, f"progress-{part}", done=done, total=total)


def progress_of(workspace: Workspace, artifact: Artifact) -> tuple[float, float] | None:
    """Done and total of an artifact that is being made: of its parts, the one that has got furthest."""
    signs = listed(workspace.signs(artifact), "progress-*.json")
    parts = [facts for sign in signs if (facts := said(workspace, artifact, sign.stem))]
    return max(((facts["done"], facts["total"]) for facts in parts), default=None)


def say(workspace: Workspace, artifact: Artifact, sign: str, **facts: Any) -> None:
    """Leave a sign of a making for other processes: "fault-0" of a part, "waiting-1700000000.0" of a call."""
    path = workspace.signs(artifact) / f"{sign}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(facts).encode())


def said(workspace: Workspace, artifact: Artifact, sign: str) -> dict[str, Any] | None:
    """What a sign of a making says; None where there is none."""
    try:
        facts: dict[str, Any] = json.loads((workspace.signs(artifact) / f"{sign}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return facts


Event = Literal["started", "waiting", "shard", "made", "cached", "damaged", "smaller batch", "stopped", "failed"]
LONGEST_MESSAGE = 2000


def write_event(
    workspace: Workspace, run: str, artifact: Artifact, event: Event, message: str = "", shard: str | None = None
) -> None:
    line = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "run": run,
        "stage": artifact.kind,
        "artifact": artifact.fingerprint,
        "shard": shard,
        "event": event,
        "message": message[:LONGEST_MESSAGE],
    }
    workspace.journal.parent.mkdir(parents=True, exist_ok=True)
    with workspace.journal.open("ab", buffering=0) as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def run_log() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """The log of the task run around us, which the UI shows; outside Prefect an ordinary one."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("nepenthe")


@dataclass
class Watch:
    """Looks at an artifact that is being made, wherever that is: progress for people, shards for the tables."""

    workspace: Workspace
    artifact: Artifact
    since: float
    """When its call was given."""
    line: Line
    load: Callable[[Artifact, Path], None]
    """Loads a finished shard into the tables. Raises WorkspaceBusy at once."""
    waits: Callable[[str], None]
    """Is told once who makes the same."""

    def __post_init__(self) -> None:
        self.over = threading.Event()
        self._loaded: set[str] = set()
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
        if progress := progress_of(self.workspace, self.artifact):
            self.line.update(*progress)
            self._show(*progress)
        if not self._waits and (waiting := said(self.workspace, self.artifact, f"waiting-{self.since}")):
            self._waits = True
            self.line.say(f"waits: {waiting['holder']}")
            self.waits(waiting["holder"])
        if not self._waits:
            self._load_finished()

    def _show(self, done: float, total: float) -> None:
        """A progress bar in the Prefect UI, for what takes its time."""
        now = time.monotonic()
        if total and now - self._drawn >= SHOW_EVERY_SECONDS:
            self._drawn = now
            self._bar = draw_bar(self._bar, self.artifact, 100 * done / total)

    def _load_finished(self) -> None:
        """Shards that are whole; if someone reads the tables just then, later."""
        for shard in shards_of(self.workspace.partial(self.artifact)):
            if shard.name in self._loaded:
                continue
            try:
                self.load(self.artifact, shard)
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
        key = f"{artifact.kind}-{artifact.fingerprint}".replace("_", "-")  # Prefect takes no other
        return create_progress_artifact(percent, key, artifact.folder)
    except Exception as error:  # a drawing must not end what it is drawn of
        run_log().warning("no progress bar: %s", error)
        return bar
