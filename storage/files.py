"""User files and model directories, known by their bytes.

Hashing a 14 GB model takes half a minute, so hashes are remembered by path, size and modification time: a file that was
rewritten with the same size and time is not noticed. `forget_hashes` (or deleting hashes.json) makes it look again.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from storage.artifact import PARTIAL, RECORD, Artifact, as_object
from storage.errors import BadInput

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

Recorded = dict[str, dict[str, Any]]
"""Files as a record has them: {"name": {"bytes": ..., "sha256": ...}}."""


@dataclass(frozen=True)
class Files:
    """User files in a fixed order. Only their contents are identity; paths say where the bytes are today."""

    paths: tuple[str, ...]
    fingerprint: str
    artifact: Artifact | None = None
    """What some of the files are a part of, where a stage makes them."""
    source: str = ""
    """Where they come from, for the record: repository and commit of a data set on the hub."""
    digest: str = ""
    """Of the bytes, where a user can change them."""

    def changed(self, hashes: "Hashes") -> bool:
        """Whether they hold other bytes now than they are known by. Raises OSError where one is gone."""
        return bool(self.digest) and hashes.of_all(map(Path, self.paths)) != self.digest


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Hashes:
    """SHA-256 by file, remembered in the workspace."""

    def __init__(self, memory: Path) -> None:
        self._memory, self._lock = memory, threading.Lock()
        self._known = self._remembered()

    def of_each(self, paths: Sequence[Path]) -> list[str]:
        """The SHA-256 of every file, from memory where size and time have not changed."""
        keys = [_key(path) for path in paths]
        if new := {key: sha256_of(path) for key, path in zip(keys, paths, strict=True) if key not in self._known}:
            self._remember(new)
        return [self._known[key] for key in keys]

    def know(self, folder: Path, files: Recorded) -> None:
        """Remember what was computed elsewhere."""
        self._remember({_key(folder / name): recorded["sha256"] for name, recorded in files.items()})

    def folders_with(self, name: str) -> list[Path]:
        """Every folder, still there, in which a file of this name is remembered."""
        places = dict.fromkeys(Path(key.rsplit("|", 2)[0]) for key in self._known)
        return [path.parent for path in places if path.name == name and path.is_file()]

    def of_all(self, paths: Iterable[Path]) -> str:
        """One hash for several files in this order."""
        return hashlib.sha256("\n".join(self.of_each(list(paths))).encode()).hexdigest()[:16]

    def files(self, paths: Iterable[Path], setting: str = "") -> Files:
        """These files, which a setting names, as an input of a stage. Raises BadInput for one that is not there."""
        files = tuple(paths)
        for path in files:
            if not path.is_file():
                there = "a folder" if path.is_dir() else "nothing"
                raise BadInput(f"{setting and f'{setting}: '}expected a file at {path}, found {there}")
        digest = self.of_all(files)
        return Files(tuple(str(path) for path in files), digest, digest=digest)

    def _remembered(self) -> dict[str, str]:
        try:
            return as_object(self._memory.read_bytes()) or {}  # a lost memory costs time, never correctness
        except FileNotFoundError:
            return {}

    def _remember(self, new: dict[str, str]) -> None:
        """Add to what other threads and other runs have written meanwhile; where none can write, for this run alone."""
        lock = self._memory.with_name(f".{self._memory.name}.lock")
        with self._lock, suppress(OSError):
            self._known = self._known | new
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go when this process is killed
                self._known = self._remembered() | self._known
                write_atomically(self._memory, json.dumps(self._known, indent=0).encode())


def _key(path: Path) -> str:
    stat = path.stat()
    return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"


def sync(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, are on the disk: a power loss cannot take them any more."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that syncs no folders
            raise
    finally:
        os.close(descriptor)


def sync_below(folder: Path) -> None:
    """The same for a folder and all that is in it."""
    for path in [*listed(folder, "**"), folder]:
        sync(path)


def require_empty(folder: Path) -> None:
    """Raise BadInput for a folder that has something in it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"expected a new or empty folder to write to, found {folder} with something in it: name another")


def open_as_folder(folder: Path) -> None:
    """Give every file the mode that the user's umask gave the folder: safetensors writes for its owner alone."""
    for path in listed(folder, "**"):
        if path.is_file():
            path.chmod(folder.stat().st_mode & 0o666)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new ones, also after a power loss."""
    with whole_file(path, uuid.uuid4().hex) as temporary:
        temporary.write_bytes(data)


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[Path]:
    """Where to write a file, which gets its name when the block ends without an error and its bytes are on the disk.

    `writer` keeps apart those who may write it at once.
    """
    temporary = path.with_name(f".{path.name}{writer and '.'}{writer}.tmp")
    yield temporary
    sync(temporary)
    temporary.replace(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder, which does not exist yet or is empty; so it is with its name when the block ends."""
    temporary = folder.with_name(f".{folder.name}{PARTIAL}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        sync_below(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def files_named(folder: Path, part: Path | None = None) -> dict[str, Path]:
    """The files of an artifact (below its folder, or one part of it) by their names, without the record."""
    inside = [part] if part and part.is_file() else listed(part or folder, "**")
    files = [path for path in inside if path.is_file() and path != folder / RECORD]
    return {path.relative_to(folder).as_posix(): path for path in files}


def files_in(folder: Path, part: Path | None = None) -> Recorded:
    """What a record says of these files."""
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for name, path in files_named(folder, part).items()
    }


def damaged_in(folder: Path, recorded: Recorded) -> list[str]:
    """The recorded files that `folder` does not hold with the recorded bytes."""
    return [
        name
        for name, expected in recorded.items()
        if not has_size(folder / name, expected["bytes"]) or sha256_of(folder / name) != expected["sha256"]
    ]


def has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def sweep(folder: Path) -> None:
    """Remove what a killed writer left under a temporary name, files and folders."""
    for left in listed(folder, "**"):
        if fnmatchcase(left.name, ".*.tmp"):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def drop_empty(folder: Path) -> None:
    """Remove folders that hold nothing: whoever finds a model's folder takes the model for there."""
    for below in reversed(listed(folder, "**")):
        if below.is_dir() and not any(below.iterdir()):
            below.rmdir()


def listed(folder: Path, pattern: str) -> list[Path]:
    """What lies below `folder` by this pattern, in order: "*/*.json"; "**" is all of it at any depth.

    For folders that others rename and remove meanwhile, which glob does not survive: what is gone is left out.
    """
    paths = [folder]
    for part in pattern.split("/"):
        paths = [path for parent in paths for path in _below(parent, part)]
    return sorted(paths)


def _below(folder: Path, pattern: str) -> list[Path]:
    try:
        if pattern == "**":
            return [Path(parent, name) for parent, *names in os.walk(folder) for name in (*names[0], *names[1])]
        if not set(pattern) & set("*?["):
            return [folder / pattern] if (folder / pattern).exists() else []
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if fnmatchcase(entry.name, pattern)]
    except OSError as error:
        if error.errno not in GONE:
            raise
        return []
