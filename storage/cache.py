"""Local copies of remote artifacts: fetched file by file, each in its place only when its bytes are the recorded ones.

A copy is taken for whole as long as its size and time are those of the last look; see Hashes.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.files import Hashes, write_atomically
from storage.folder import RECORD, as_json, damaged_in, files_named, has_size
from storage.locks import held
from storage.objects import Objects

Recorded = dict[str, dict[str, Any]]
"""Files with their size and checksum, as a record has them."""


class Cache:
    """The copies of one machine. Several processes may fetch at once: each artifact one after the other."""

    def __init__(self, root: Path, objects: Objects, hashes: Hashes) -> None:
        self._root, self._objects, self._hashes = root, objects, hashes

    def lacking(self, folder: Path, wanted: Recorded) -> list[str]:
        """The files that are not here, or not as recorded."""
        right = [name for name, expected in wanted.items() if has_size(folder / name, expected["bytes"])]
        found = dict(zip(right, self._hashes.of_each([folder / name for name in right]), strict=True))
        return [name for name, expected in wanted.items() if found.get(name) != expected["sha256"]]

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

    def know(self, folder: Path, files: Recorded) -> None:
        """These files are here and whole."""
        self._hashes.know({folder / name: expected["sha256"] for name, expected in files.items()})

    @contextmanager
    def fetching(self, artifact: Artifact) -> Iterator[Path]:
        """One fetch of an artifact at a time, in an empty folder of its own."""
        name = f"{artifact.kind}-{artifact.fingerprint}"
        room = self._root / "fetching" / name
        with held(self._root / "locks" / "fetching" / f"{name}.lock", None, lambda: f"{name} is being fetched"):
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
                (room / name).replace(folder / name)
            self.know(folder, whole)
            bad += torn
        return bad

    def download(self, source: str, files: Recorded, room: Path) -> list[str]:
        """Download files to `room`, once more where bytes went wrong. Returns those that are wrong even so."""
        torn = list(files)
        for _ in range(2):
            self._objects.download([(f"{source}/{name}", room / name) for name in torn])
            torn = damaged_in(room, {name: files[name] for name in torn})
        return torn


BATCH_BYTES = 2**28


def _batches(files: Recorded) -> Iterator[Recorded]:
    """Files in batches of about BATCH_BYTES: what a killed fetch loses at most."""
    batch: Recorded = {}
    for name, expected in files.items():
        batch[name] = expected
        if sum(one["bytes"] for one in batch.values()) >= BATCH_BYTES:
            yield batch
            batch = {}
    if batch:
        yield batch
