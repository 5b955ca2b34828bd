"""Progress for a person at a terminal: which stage, how far, how long still.

Lines go to standard error, so that --json owns standard output. A terminal sees one line that changes; a log file sees
a line a stage and, for long stages, one every ten seconds.
"""

import sys
import threading
import time
from typing import Any, TextIO

WIDTH = 28
TITLE = 24
LOG_EVERY_SECONDS = 10.0
DRAW_EVERY_SECONDS = 0.1


class Progress:
    """The run's voice. `total` is the number of stages that the run will pass through."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total, self._stream = total, stream or sys.stderr
        self._number = 0
        self._lock = threading.Lock()
        self.live = self._stream.isatty()

    def start(self, title: str) -> "Line":
        with self._lock:
            self._number += 1
            return Line(self, f"[{self._number:>2}/{max(self._total, self._number)}] {title:<{TITLE}}")

    def write(self, text: str, final: bool) -> None:
        """One line; on a terminal it replaces the line that is being drawn."""
        with self._lock:
            shown = f"{text}\n" if final else text[:160]
            self._stream.write(f"\r\x1b[2K{shown}" if self.live else f"{text}\n")
            self._stream.flush()


class Line:
    """One stage's line. Several may be drawn at once; on a terminal they take turns."""

    def __init__(self, progress: Progress, head: str) -> None:
        self._progress, self._head = progress, head
        self._started = self._drawn = time.monotonic()
        if progress.live:
            self.say("...")

    def update(self, done: float, total: float) -> None:
        """The stage has done `done` of `total`, in any unit."""
        now = time.monotonic()
        pause = DRAW_EVERY_SECONDS if self._progress.live else LOG_EVERY_SECONDS
        if now - self._drawn < pause or not total:
            return
        self._drawn = now
        share = min(done / total, 1.0)
        left = f"{clock((now - self._started) * (1 - share) / share)} left" if share > 0 else ""
        self.say(f"[{'#' * round(share * WIDTH):<{WIDTH}}] {share:4.0%}  {left}")

    def finish(self, seconds: float, counts: dict[str, Any]) -> None:
        """The stage is done. What its counts have as "remark" a person should know."""
        facts = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
        self.say(f"{clock(seconds)}  {facts}", final=True)
        if remark := counts.get("remark"):
            self._progress.write(f"        {remark}", final=True)

    def say(self, text: str, final: bool = False) -> None:
        """Show the line with this text."""
        self._progress.write(f"{self._head} {text}", final)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
