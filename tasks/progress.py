"""Progress for a person at a terminal: which stage, how far, how long still.

Lines go to standard error, so that --json owns standard output. A terminal sees one line that changes; a log file sees a line
a stage and, for long stages, one every ten seconds.
"""

import sys
import time
from typing import Any, TextIO

WIDTH = 28
LOG_EVERY_SECONDS = 10.0
DRAW_EVERY_SECONDS = 0.1


class Progress:
    """The run's voice. `total` is the number of stages that the run will pass through."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total, self._stream = total, stream or sys.stderr
        self._live = self._stream.isatty()
        self._number = 0
        self._kind = ""
        self._started = self._drawn = time.monotonic()

    def start(self, kind: str, cached: bool = False) -> None:
        """A stage begins (or is found in the cache)."""
        self._number += 1
        self._kind = kind
        self._started = time.monotonic()
        self._drawn = self._started
        if cached:
            self._say("cached", final=True)
        elif self._live:
            self._say("...")

    def update(self, done: float, total: float) -> None:
        """The stage has done `done` of `total`."""
        now = time.monotonic()
        if now - self._drawn < (DRAW_EVERY_SECONDS if self._live else LOG_EVERY_SECONDS) or not total:
            return
        self._drawn = now
        share = min(done / total, 1.0)
        left = f"{clock((now - self._started) * (1 - share) / share)} left" if share > 0 else ""
        bar = "#" * round(share * WIDTH)
        self._say(f"[{bar:<{WIDTH}}] {share:4.0%}  {left}")

    def finish(self, kind: str, seconds: float, counts: dict[str, Any]) -> None:
        """The stage is done."""
        facts = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
        self._say(f"{clock(seconds)}  {facts}", final=True)

    def _say(self, text: str, final: bool = False) -> None:
        line = f"[{self._number:>2}/{max(self._total, self._number)}] {self._kind:<12} {text}"
        if self._live:
            self._stream.write("\r\x1b[2K" + line[:200] + ("\n" if final else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
