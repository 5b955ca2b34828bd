"""The workspace: a folder of finished artifacts, and of `.partial` ones that a next run goes on with.

An artifact is finished when its folder bears its own name and holds record.json, which is written last. A `.partial`
folder has a fixed name, so that whoever comes after a kill finds the shards and checkpoints that were completed.
"""

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.errors import DamagedArtifact, MissingArtifact
from storage.files import Hashes, sha256_of, write_atomically
from storage.locks import Holder, Waiting, held, holder_of, holders_in, shared, signed, silent, who

RECORD = "record.json"
LOCKS = "locks"


class Workspace:
    """All that one root holds. Cheap to make; creates nothing until something is written."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.url = ""
        self.hashes = Hashes(self.root / "hashes.json")

    @property
    def address(self) -> str:
        """What makes this workspace again, on another machine too: its URL, or its folder."""
        return self.url or str(self.root)

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

    def resume(self, artifact: Artifact) -> Path:
        """The partial folder, with whatever an earlier attempt has finished."""
        partial = self.partial(artifact)
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def keep(self, artifact: Artifact, finished: Path) -> None:
        """A file or folder of the partial artifact is whole: from now on another machine can go on from it."""

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
    def making(self, artifact: Artifact, wait: float | None = None, waiting: Waiting = silent) -> Iterator[None]:
        """Be the only one who makes this artifact. Whoever comes second waits, and then finds it made.

        `wait`: seconds, None for as long as it takes; `waiting` is told once who makes it. Raises WorkspaceBusy after
        waiting.
        """

        def busy() -> str:
            maker = self.maker(artifact) or "another process"
            return f"{artifact.folder} is being made by {maker}; wait for it or end it there"

        with held(self._lock_of(artifact), wait, busy, waiting):
            yield

    def maker(self, artifact: Artifact) -> Holder | None:
        """Who makes the artifact just now."""
        return holder_of(self._lock_of(artifact))

    def makers(self) -> dict[str, Holder]:
        """Who makes what just now: {"logits-0123456789abcdef": holder}."""
        found = {path.stem: holder_of(path) for path in sorted((self.root / LOCKS).glob("*.lock"))}
        return {name: holder for name, holder in found.items() if holder}

    def users(self) -> list[Holder]:
        """The runs that go on just now."""
        return holders_in(self.root / LOCKS / "runs")

    @contextmanager
    def using(self, wait: float | None = 0, run: str = "", waiting: Waiting = silent) -> Iterator[None]:
        """Take part in the workspace: many runs may, at once. Raises WorkspaceBusy while someone is `writing`."""
        with (
            shared(self.root / "writer.lock", wait, self._in_use, waiting),
            signed(self.root / LOCKS / "runs", run),
        ):
            yield

    @contextmanager
    def writing(self, wait: float | None = 0, waiting: Waiting = silent) -> Iterator[None]:
        """Have the workspace alone, with no run going on. Raises WorkspaceBusy with who uses it, after waiting."""
        with held(self.root / "writer.lock", wait, self._in_use, waiting):
            yield

    def _lock_of(self, artifact: Artifact) -> Path:
        return self.root / LOCKS / f"{artifact.kind}-{artifact.fingerprint}.lock"

    def _in_use(self) -> str:
        holders = [holder_of(self.root / "writer.lock"), *self.users()]
        found = "; ".join(str(holder) for holder in holders if holder) or "another process"
        return f"{self.root} is in use by {found}; wait for it (--wait SECONDS) or choose another --root"
