"""The workspace: a folder of finished artifacts, and of `.partial` ones that a next run goes on with.

An artifact is finished when its folder bears its own name and holds record.json, which is written last. A `.partial`
folder has a fixed name, so that whoever comes after a kill finds the shards and checkpoints that were completed.
"""

import fcntl
import getpass
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.errors import DamagedArtifact, MissingArtifact, WorkspaceBusy
from storage.files import Hashes, sha256_of, write_atomically

RECORD = "record.json"


class Workspace:
    """All that one root holds. Cheap to make; creates nothing until something is written."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.hashes = Hashes(self.root / "hashes.json")

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.root / "tables.duckdb"

    def find(self, kind: str, fingerprint: str) -> Artifact | None:
        """The finished artifact of this fingerprint, under whatever name it was made."""
        for record in (self.root / kind).glob(f"*-{fingerprint}/{RECORD}"):
            return Artifact(kind, record.parent.name.removesuffix(f"-{fingerprint}"), fingerprint)
        return None

    def all(self) -> list[Artifact]:
        """Every finished artifact, oldest first."""
        records = sorted(self.root.glob(f"*/*/{RECORD}"), key=lambda path: path.stat().st_mtime_ns)
        parts = [(path.parent.parent.name, *path.parent.name.rsplit("-", 1)) for path in records]
        return [Artifact(*part) for part in parts if "." not in part[2]]

    def path(self, artifact: Artifact) -> Path:
        """Where the finished artifact lies. Raises MissingArtifact with the stage that makes it."""
        path = self.root / artifact.folder
        if not (path / RECORD).is_file():
            raise MissingArtifact(
                f"{artifact.folder} is not in {self.root}; the {artifact.kind} stage makes it: run the job again"
            )
        return path

    def record(self, artifact: Artifact) -> dict[str, Any]:
        """What the artifact was made from, how, when, by whom; its counts and checksums."""
        record: dict[str, Any] = json.loads((self.path(artifact) / RECORD).read_text())
        return record

    def partial(self, artifact: Artifact) -> Path:
        """The folder in which the artifact is being made."""
        return self.root / f"{artifact.folder}.partial"

    def commit(self, artifact: Artifact, description: dict[str, Any]) -> None:
        """Turn the partial folder into the finished artifact: checksums, the record, then the name."""
        partial = self.partial(artifact)
        files = sorted(path for path in partial.rglob("*") if path.is_file() and path.name != RECORD)
        record = {
            "kind": artifact.kind,
            "name": artifact.name,
            "fingerprint": artifact.fingerprint,
            **description,
            "files": {
                str(path.relative_to(partial)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
                for path in files
            },
            "made": {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": who(),
                "host": socket.gethostname(),
            },
        }
        write_atomically(partial / RECORD, json.dumps(record, indent=1, ensure_ascii=False).encode())
        partial.rename(self.root / artifact.folder)

    def verify(self, artifact: Artifact) -> None:
        """Raise DamagedArtifact unless every byte is the one that the record describes."""
        folder = self.path(artifact)
        for name, expected in self.record(artifact)["files"].items():
            file = folder / name
            if not file.is_file() or sha256_of(file) != expected["sha256"]:
                found = "other bytes" if file.is_file() else "nothing"
                raise DamagedArtifact(
                    f"{file}: expected the bytes that its record describes, found {found}; "
                    f"remove {folder} and run the job again"
                )

    def remove(self, artifact: Artifact) -> None:
        """Remove a finished artifact. The record goes first, so that a kill leaves no half that looks whole."""
        folder = self.path(artifact)
        (folder / RECORD).unlink()
        shutil.rmtree(folder)

    def protected(self) -> list[Artifact]:
        """The artifacts that hold the text to forget, or give it back."""
        return [artifact for artifact in self.all() if self.record(artifact)["holds_protected_text"]]

    def purge(self) -> list[Artifact]:
        """Remove every artifact that holds the text to forget, or gives it back; their records move to removed/.

        Models that have forgotten, dictionaries and records stay. Returns what was removed.
        """
        protected = self.protected()
        for artifact in protected:
            record = self.root / "removed" / f"{artifact.kind}-{artifact.fingerprint}.json"
            record.parent.mkdir(exist_ok=True)
            write_atomically(record, (self.path(artifact) / RECORD).read_bytes())
            self.remove(artifact)
        for partial in self.root.glob("*/*.partial"):
            shutil.rmtree(partial)
        self.database.unlink(missing_ok=True)
        return protected

    @contextmanager
    def writing(self, wait_seconds: float = 0) -> Iterator[None]:
        """Be the workspace's one writer. Raises WorkspaceBusy with who it is, after waiting."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "writer.lock").open("a+") as lock:
            deadline = time.monotonic() + wait_seconds
            while not _try_lock(lock.fileno()):
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    raise WorkspaceBusy(
                        f"{self.root} is in use by {lock.read().strip() or 'another process'}; "
                        "wait for it (--wait SECONDS) or choose another --root"
                    )
                time.sleep(0.2)
            lock.truncate(0)
            lock.write(f"{who()} on {socket.gethostname()}, process {os.getpid()} ({Path(sys.argv[0]).name}), ")
            lock.write(f"since {datetime.now(UTC).isoformat(timespec='seconds')}\n")
            lock.flush()
            yield


def who() -> str:
    """The user's name, also where the system has none for the number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _try_lock(descriptor: int) -> bool:
    """flock, not a file that exists: the kernel frees it when its holder is killed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
