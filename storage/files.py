"""User files and model directories, known by their bytes.

Hashing a 14 GB model takes half a minute, so hashes are remembered by path, size and modification time: a file that was
rewritten with the same size and time is not noticed. `forget_hashes` (or deleting hashes.json) makes it look again.
"""

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.errors import BadInput
from storage.locks import held


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
        self._memory, self._lock = memory, threading.Lock()
        self._known = self._remembered()

    def of(self, path: Path) -> str:
        """The file's SHA-256, from memory where size and time have not changed."""
        return self.of_each([path])[0]

    def of_each(self, paths: Sequence[Path]) -> list[str]:
        """The SHA-256 of every file."""
        keys = [_key(path) for path in paths]
        new = {key: sha256_of(path) for key, path in zip(keys, paths, strict=True) if key not in self._known}
        if new:
            self._remember(new)
        return [self._known[key] for key in keys]

    def know(self, known: Mapping[Path, str]) -> None:
        """Remember what was computed elsewhere."""
        self._remember({_key(path): found for path, found in known.items()})

    def folders_with(self, name: str) -> list[Path]:
        """Every folder, still there, in which a file of this name is remembered."""
        places = dict.fromkeys(Path(key.rsplit("|", 2)[0]) for key in self._known)
        return [path.parent for path in places if path.name == name and path.is_file()]

    def of_all(self, paths: Iterable[Path]) -> str:
        """One hash for several files in this order."""
        return hashlib.sha256("\n".join(self.of_each(list(paths))).encode()).hexdigest()[:16]

    def files(self, paths: Iterable[Path]) -> Files:
        """These files as an input of a stage. Raises BadInput for one that is not there."""
        found = tuple(paths)
        for path in found:
            if not path.is_file():
                raise BadInput(f"expected a file at {path}, found {'a folder' if path.is_dir() else 'nothing'}")
        return Files(tuple(str(path) for path in found), self.of_all(found))

    def _remembered(self) -> dict[str, str]:
        try:
            known: dict[str, str] = json.loads(self._memory.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}  # a lost memory costs time, never correctness
        return known

    def _remember(self, new: dict[str, str]) -> None:
        """Add to what other threads and other runs have written meanwhile."""
        with self._lock, held(self._memory.with_name(f".{self._memory.name}.lock"), None, lambda: str(self._memory)):
            self._known = self._remembered() | self._known | new
            write_atomically(self._memory, json.dumps(self._known, indent=0).encode())


def _key(path: Path) -> str:
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new ones, also after a crash."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
