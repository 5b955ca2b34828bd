"""What passes between a machine and an object store: copies of finished artifacts, parts of unfinished ones.

A copy is taken for whole as long as its size and time are those of the last look; see Hashes. A part (a shard, a
checkpoint, a model) counts when its manifest is in the store, which is written last: others go on from there.
"""

import fnmatch
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from storage.artifact import RECORD, Artifact, as_json, as_object
from storage.files import Hashes, Recorded, damaged_in, files_in, files_named, has_size, sync_below, write_atomically
from storage.locks import held
from storage.remote.objects import Objects

BATCH_BYTES = 2**28
KEPT = ".kept"
T = TypeVar("T")


class Copies:
    """The copies of one machine, each file in its place only when its bytes are the recorded ones.

    Several processes may fetch at once: each artifact one after the other.
    """

    def __init__(self, root: Path, objects: Objects, hashes: Hashes) -> None:
        self._root, self._objects, self._hashes = root, objects, hashes

    def lacking(self, folder: Path, wanted: Recorded) -> list[str]:
        """The files that are not here, or not as recorded."""
        right = [name for name, expected in wanted.items() if has_size(folder / name, expected["bytes"])]
        hashes = dict(zip(right, self._hashes.of_each([folder / name for name in right]), strict=True))
        return [name for name, expected in wanted.items() if hashes.get(name) != expected["sha256"]]

    def renew(self, artifact: Artifact, record: dict[str, Any]) -> None:
        """Put this record beside the copies. Where there was another, files that it does not know go."""
        folder, text = self._root / artifact.folder, as_json(record)
        if (folder / RECORD).is_file() and (folder / RECORD).read_bytes() == text:
            return
        with self.fetching(artifact):
            for name in files_named(folder).keys() - record["files"].keys():
                (folder / name).unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / RECORD, text)

    @contextmanager
    def fetching(self, artifact: Artifact) -> Iterator[Path]:
        """One fetch of an artifact at a time, in an empty folder of its own."""
        room = self._root / "fetching" / artifact.key
        lock = self._root / "locks" / "fetching" / f"{artifact.key}.lock"
        with held(lock, None, lambda: f"{artifact.folder} is being fetched"):
            shutil.rmtree(room, ignore_errors=True)
            try:
                yield room
            finally:
                shutil.rmtree(room, ignore_errors=True)

    def fetch(self, source: str, files: Recorded, room: Path, folder: Path) -> list[str]:
        """Bring the files below `source` to `folder`, by way of `room`. Returns those whose bytes are not as recorded.

        What is whole is in its place even if the rest is never fetched.
        """
        bad: list[str] = []
        for batch in _batches(files):
            torn = self.download(source, batch, room)
            whole = {name: expected for name, expected in batch.items() if name not in torn}
            for name in whole:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                sync_below(room / name)
                (room / name).replace(folder / name)
            self._hashes.know(folder, whole)
            bad += torn
        return bad

    def download(self, source: str, files: Recorded, room: Path) -> list[str]:
        """Download files to `room`, once more where bytes went wrong. Returns those that are wrong even so."""
        torn = list(files)
        for _ in range(2):
            self._objects.download([(f"{source}/{name}", room / name) for name in torn])
            torn = damaged_in(room, {name: files[name] for name in torn})
        return torn


class Parts:
    """The parts of one workspace, and which of them this process has."""

    def __init__(self, objects: Objects, copies: Copies, root: Path) -> None:
        self._objects, self._copies, self._root = objects, copies, root
        self._had: dict[Artifact, set[str]] = {}

    def keep(self, artifact: Artifact, part: Path) -> None:
        """Upload a part. What this process had and is gone here, like the last checkpoint but one, goes there too."""
        folder, had = self._root / artifact.partial, self._had.setdefault(artifact, set())
        name = part.relative_to(folder).as_posix()
        if name in had:
            self._drop(artifact, name)
        files = files_in(folder, part)
        self._objects.upload((folder / file, f"{artifact.partial}/{file}") for file in files)
        self._objects.write(_manifest(artifact, name), as_json({"name": name, "files": files}))
        had.add(name)
        for gone in [other for other in had if not (folder / other).exists()]:
            self._drop(artifact, gone)
            had.discard(gone)

    def resume(self, artifact: Artifact) -> Path:
        """The local partial folder, with every part that is in the store and not here."""
        folder, had = self._root / artifact.partial, self._had.setdefault(artifact, set())
        folder.mkdir(parents=True, exist_ok=True)
        with self._copies.fetching(artifact) as room:
            for name, files in self.kept(artifact).items():
                if not _is_here(folder, name, files):
                    self._take(artifact, name, files, room)
                had.add(name)
        return folder

    def kept(self, artifact: Artifact) -> dict[str, Recorded]:
        """The parts in the store, with their files."""
        kept = f"{artifact.partial}/{KEPT}"
        texts = (self._objects.read(f"{kept}/{name}") for name in self._objects.folders(kept))
        parts = [as_object(text or b"", "name", "files") for text in texts]
        return {part["name"]: part["files"] for part in parts if part}

    def read_each(self, artifact: Artifact, pattern: str, read: Callable[[Path], T]) -> list[T]:
        """What `read` makes of the kept files by this pattern that are not here."""
        folder, kept = self._root / artifact.partial, self._files_kept(artifact)
        names = [name for name in fnmatch.filter(kept, pattern) if not has_size(folder / name, kept[name]["bytes"])]
        if not names:
            return []
        with self._copies.fetching(artifact) as room:
            torn = self._copies.download(artifact.partial, {name: kept[name] for name in names}, room)
            return [read(room / name) for name in names if name not in torn]

    def _files_kept(self, artifact: Artifact) -> Recorded:
        return {file: known for part in self.kept(artifact).values() for file, known in part.items()}

    def move(self, artifact: Artifact, target: str, files: Recorded) -> None:
        """Put an artifact's files below `target` in the store: what was kept is copied there, the rest uploaded."""
        kept = self._files_kept(artifact)
        there = self._objects.sizes(artifact.partial) if kept else {}
        copied = [
            name for name, known in files.items() if kept.get(name) == known and there.get(name) == known["bytes"]
        ]
        folder = self._root / artifact.partial
        self._objects.copy((f"{artifact.partial}/{name}", f"{target}/{name}") for name in copied)
        self._objects.upload((folder / name, f"{target}/{name}") for name in files if name not in copied)

    def discard(self, artifact: Artifact) -> None:
        """Remove what was kept; the manifests first."""
        self._had.pop(artifact, None)
        self._objects.erase(f"{artifact.partial}/{KEPT}")
        self._objects.erase(artifact.partial)

    def _take(self, artifact: Artifact, name: str, files: Recorded, room: Path) -> None:
        """Download a part; one that is not whole in the store is left there, to be made again."""
        if self._copies.download(artifact.partial, files, room):
            return
        target = self._root / artifact.partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        sync_below(room / name)
        (room / name).rename(target)

    def _drop(self, artifact: Artifact, name: str) -> None:
        self._objects.erase(_manifest(artifact, name))
        self._objects.erase(f"{artifact.partial}/{name}")


def _manifest(artifact: Artifact, part: str) -> str:
    return f"{artifact.partial}/{KEPT}/{quote(part, safe='')}.json"


def _is_here(folder: Path, name: str, files: Recorded) -> bool:
    """A file has its name when it is whole; a folder may be torn."""
    if (folder / name).is_file():
        return True
    return all(has_size(folder / file, known["bytes"]) for file, known in files.items())


def _batches(files: Recorded) -> Iterator[Recorded]:
    """Files in batches of about BATCH_BYTES: what a killed fetch loses at most."""
    batch: Recorded = {}
    for name, expected in files.items():
        batch[name] = expected
        if sum(known["bytes"] for known in batch.values()) >= BATCH_BYTES:
            yield batch
            batch = {}
    if batch:
        yield batch
