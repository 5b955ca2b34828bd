"""Who is at work in an object store, from several machines: small objects that their holders renew while they live.

A lease spares work and keeps cleaning away from running jobs; it never decides what is finished: that is the record,
written where there is none. So a lease that was taken for dead too early costs time and nothing else.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storage.locks import Holder, Waiting, wait_until
from storage.remote.objects import Objects

RENEW_SECONDS = 20.0
DEAD_AFTER = timedelta(seconds=120)  # of silence, by clocks that S3 accepts only if they are about right
POLL_SECONDS = 1.0
WRITER, RUNS = "writer", "runs"


class Leases:
    """The leases of one workspace, as seen from one machine. On it, its own locks decide; so its own leases don't."""

    def __init__(self, objects: Objects, root: Path) -> None:
        self._objects = objects
        self._machine = f"{socket.gethostname()}:{root}"

    @contextmanager
    def taken(self, name: str, wait: float | None, busy: Callable[[], str], waiting: Waiting) -> Iterator[None]:
        """Be the one machine that does something. Raises WorkspaceBusy after waiting."""

        def free() -> bool:
            if self._objects.create(_object(name), self._text("")):
                return True
            if self.other(name):
                return False
            self._write(name, "")  # in the place of a dead one's
            return True

        wait_until(free, wait, busy, waiting, POLL_SECONDS)
        with self._renewed(name):
            yield

    @contextmanager
    def using(self, run: str, wait: float | None, busy: Callable[[], str], waiting: Waiting) -> Iterator[None]:
        """Say that a run goes on, while no other machine has the workspace alone."""
        name = f"{RUNS}/{socket.gethostname()}-{os.getpid()}-{time.monotonic_ns()}"

        def joined() -> bool:  # first say it, then look: of two that do so at once at least one sees the other
            self._write(name, run)
            if not self.other(WRITER):
                return True
            self._objects.erase(_object(name))
            return False

        wait_until(joined, wait, busy, waiting, POLL_SECONDS)
        with self._renewed(name):
            yield

    @contextmanager
    def writing(self, wait: float | None, busy: Callable[[], str], waiting: Waiting) -> Iterator[None]:
        """Have the workspace alone among all machines."""
        with self.taken(WRITER, wait, busy, waiting):
            wait_until(lambda: not self.others(RUNS), wait, busy, waiting, POLL_SECONDS)
            yield

    def other(self, name: str) -> Holder | None:
        """Who holds a lease on another machine; None where nobody does, or has been heard of lately."""
        changed = self._objects.changed(_object(name))
        if changed is None or datetime.now(UTC) - changed > DEAD_AFTER:
            return None
        text = self._objects.read(_object(name))
        lease: dict[str, Any] = json.loads(text) if text else {"machine": self._machine}
        return None if lease["machine"] == self._machine else Holder(**lease["holder"])

    def others(self, folder: str) -> dict[str, Holder]:
        """Who holds the leases of a folder on other machines, by name."""
        names = [name.removesuffix(".json") for name in self._objects.folders(f"locks/{folder}")]
        holders = {name: self.other(f"{folder}/{name}") for name in names}
        return {name: holder for name, holder in holders.items() if holder}

    @contextmanager
    def _renewed(self, name: str) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._renew, args=(name, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(Exception):  # a store out of reach: the lease lapses, and what was made is made
                self._objects.erase(_object(name))

    def _renew(self, name: str, over: threading.Event) -> None:
        while not over.wait(RENEW_SECONDS):
            with suppress(Exception):  # the next time, then
                if text := self._objects.read(_object(name)):
                    self._objects.write(_object(name), text)

    def _write(self, name: str, doing: str) -> None:
        self._objects.write(_object(name), self._text(doing))

    def _text(self, doing: str) -> bytes:
        return json.dumps({"machine": self._machine, "holder": asdict(Holder.me(doing))}).encode()


def _object(name: str) -> str:
    return f"locks/{name}.json"
