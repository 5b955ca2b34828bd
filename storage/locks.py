"""Locks on files: who is at work on what, and whoever comes second waits or is told.

Every lock is a flock, not a file that exists: the kernel frees it when its holder is killed. It belongs to one opening
of the file, so two threads of a process exclude each other as two processes do. The file itself stays; while its lock
is held it says by whom.
"""

import fcntl
import getpass
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from storage.errors import WorkspaceBusy

POLL_SECONDS = 0.2
GLANCES = 5  # a look at a lock (`holder_of`) holds it for an instant: that is nobody to wait for
GLANCE_SECONDS = 0.01

Waiting = Callable[[str], None]
"""Is told once, in a sentence, who is waited for."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. As text: half a sentence for people."""

    who: str
    host: str
    pid: int
    program: str
    since: str
    doing: str = field(default="", compare=False)
    """What for: the name of a run."""

    @classmethod
    def me(cls, doing: str = "") -> "Holder":
        """This process, from now on."""
        program, now = Path(sys.argv[0]).name, datetime.now(UTC).isoformat(timespec="seconds")
        return cls(who(), socket.gethostname(), os.getpid(), program, now, doing)

    def __str__(self) -> str:
        doing = f" for {self.doing}" if self.doing else ""
        return f"{self.who} on {self.host}, process {self.pid} ({self.program}){doing}, since {self.since}"


def who() -> str:
    """The user's name, also where the system has none for the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def silent(_sentence: str) -> None:
    """Tell nobody."""


@contextmanager
def held(path: Path, wait: float | None, busy: Callable[[], str], waiting: Waiting = silent) -> Iterator[None]:
    """Hold the lock alone. `wait`: seconds to wait for it, None for as long as it takes.

    Raises WorkspaceBusy with the sentence of `busy()` after waiting; `waiting` is told the same sentence once.
    """
    with _locked(path, fcntl.LOCK_EX, wait, busy, waiting) as file:
        file.truncate(0)
        file.write(json.dumps(asdict(Holder.me())))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def shared(path: Path, wait: float | None, busy: Callable[[], str], waiting: Waiting = silent) -> Iterator[None]:
    """Hold the lock together with others who share it; as `held` otherwise."""
    with _locked(path, fcntl.LOCK_SH, wait, busy, waiting):
        yield


@contextmanager
def signed(folder: Path, doing: str) -> Iterator[None]:
    """A lock file of one's own in `folder`, for those who want to know who is there (`holders_in`)."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{socket.gethostname()}-{os.getpid()}-{time.monotonic_ns()}"
    unnamed, path = folder / f".{name}.tmp", folder / f"{name}.lock"
    with unnamed.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(asdict(Holder.me(doing))))
        file.flush()
        unnamed.rename(path)  # locked before it has its name: nobody takes it for one that was left by a kill
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def holder_of(path: Path) -> Holder | None:
    """Who holds this lock alone; None where nobody does, whatever a killed holder left in the file."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read()
            return None if not text or _try(file, fcntl.LOCK_SH) else Holder(**json.loads(text))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # where it is: it is being written just now, or by another version


def holders_in(files: Iterable[Path]) -> list[Holder]:
    """Who has `signed`, by their files, and is still there. What killed ones left is cleared away."""
    holders = []
    for path in files:
        if holder := holder_of(path):
            holders.append(holder)
        else:
            path.unlink(missing_ok=True)
    return holders


def wait_until(
    free: Callable[[], bool], wait: float | None, busy: Callable[[], str], waiting: Waiting, poll: float = POLL_SECONDS
) -> None:
    """Ask `free` until it says yes; `waiting` is told once. Raises WorkspaceBusy after `wait` seconds."""
    deadline, said = None if wait is None else time.monotonic() + wait, False
    while not free():
        if deadline is not None and time.monotonic() >= deadline:
            raise WorkspaceBusy(busy())
        if not said:
            waiting(busy())
        said = True
        time.sleep(poll)


@contextmanager
def _locked(path: Path, kind: int, wait: float | None, busy: Callable[[], str], waiting: Waiting) -> Iterator[IO[str]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        if not _glance(file, kind):
            wait_until(lambda: _try(file, kind), wait, busy, waiting)
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing would not do where a forked child still has the file open


def _glance(file: IO[str], kind: int) -> bool:
    for _ in range(GLANCES):
        if _try(file, kind):
            return True
        time.sleep(GLANCE_SECONDS)
    return False


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
