"""User files and model directories, known by their bytes.

Hashing a 14 GB model takes half a minute, so hashes are remembered by path, size and modification time: a file that was
rewritten with the same size and time is not noticed. `forget_hashes` (or deleting hashes.json) makes it look again.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.errors import BadInput


@dataclass(frozen=True)
class Files:
    """User files in a fixed order. Only their contents are identity; paths say where the bytes are today."""

    paths: tuple[str, ...]
    fingerprint: str


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Hashes:
    """SHA-256 by file, remembered in the workspace."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        try:
            self._known: dict[str, str] = json.loads(memory.read_text())
        except (FileNotFoundError, ValueError):
            self._known = {}  # a lost memory costs time, never correctness

    def of(self, path: Path) -> str:
        """The file's SHA-256, from memory where size and time have not changed."""
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = sha256_of(path)
            self._save()
        return self._known[key]

    def of_all(self, paths: Iterable[Path]) -> str:
        """One hash for several files in this order."""
        return hashlib.sha256("\n".join(self.of(path) for path in paths).encode()).hexdigest()[:16]

    def files(self, paths: Iterable[Path]) -> Files:
        """These files as an input of a stage. Raises BadInput for one that is not there."""
        found = tuple(paths)
        for path in found:
            if not path.is_file():
                raise BadInput(f"expected a file at {path}, found {'a folder' if path.is_dir() else 'nothing'}")
        return Files(tuple(str(path) for path in found), self.of_all(found))

    def _save(self) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._memory, json.dumps(self._known, indent=0).encode())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new ones, also after a crash."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
