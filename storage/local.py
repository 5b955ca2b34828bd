"""A local folder of artifacts: finished ones, and `.partial` ones that a next run goes on with.

An artifact is finished when its folder bears its own name and holds a record.json that can be read; it is written last.
A `.partial` folder has a fixed name: whoever comes after a kill finds the shards and checkpoints that were completed.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from storage.artifact import NAMED, PARTIAL, RECORD, Artifact, as_json, as_object
from storage.errors import BadInput, DamagedArtifact, MissingArtifact
from storage.files import damaged_in, drop_empty, has_size, listed, open_as_folder, sync, sync_below, write_atomically

T = TypeVar("T")


class LocalStore:
    """The artifacts below one local folder."""

    def __init__(self, root: Path | str) -> None:
        if "://" in str(root):
            raise ValueError(f"expected a folder, found the URL {root}: open_workspace takes both")
        self.root = Path(root).absolute()
        """The local folder."""
        self.address = str(self.root)
        """What makes this workspace again, on another machine too: its URL, or its folder."""

    def find(self, kind: str, fingerprint: str) -> Artifact | None:
        """The finished artifact of this fingerprint, under whatever name it was made."""
        candidates = (artifact for artifact in self._named(kind) if artifact.fingerprint == fingerprint)
        return next(filter(self._is_finished, candidates), None)

    def all(self) -> list[Artifact]:
        """Every finished artifact, oldest first."""
        records = [pair for path in listed(self.root, f"*/*/{RECORD}") for pair in _stats(path)]
        folders = [path.parent for path, _ in sorted(records, key=lambda pair: pair[1].st_mtime_ns)]
        return [artifact for path in folders if (artifact := Artifact.at(path.parent.name, path.name))]

    def partials(self) -> list[Artifact]:
        """Every artifact of which something is made and not all."""
        return [artifact for kind in listed(self.root, "*") for artifact in self._named(kind.name, PARTIAL)]

    def read_each(self, kind: str, pattern: str, read: Callable[[Path], T]) -> Iterator[T]:
        """What `read` makes of every file by this pattern in the artifacts of a kind, unfinished ones first.

        One that gets its final name meanwhile is met again under it.
        """
        for ending in (PARTIAL, ""):
            for path in listed(self.root / kind, f"*-*/{pattern}"):
                if Artifact.at(kind, path.parent.name, ending):
                    with suppress(FileNotFoundError):
                        yield read(path)

    def record(self, artifact: Artifact) -> dict[str, Any]:
        """What the artifact was made from, how, when, by whom; its counts and checksums. Raises MissingArtifact."""
        try:
            text = self._record(artifact).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingArtifact.of(artifact.folder, self.address) from error
        return as_record(text, artifact, self.address)

    def path(self, artifact: Artifact, names: Iterable[str] | None = None) -> Path:
        """Where the finished artifact lies here; of a remote one these files, by default all, are fetched first.

        Raises MissingArtifact with the stage that makes it.
        """
        if not self._record(artifact).is_file():
            raise MissingArtifact.of(artifact.folder, self.address)
        return self.root / artifact.folder

    def partial(self, artifact: Artifact) -> Path:
        """The folder in which the artifact is being made."""
        return self.root / artifact.partial

    def resume(self, artifact: Artifact) -> Path:
        """The partial folder, with whatever an earlier attempt has finished, on this machine or another."""
        partial = self.partial(artifact)
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def keep(self, artifact: Artifact, finished: Path) -> None:
        """A file or folder of the partial artifact is whole: from now on another machine can go on from it."""

    def publish(self, artifact: Artifact, record: dict[str, Any]) -> None:
        """The record, then the name. Where the artifact is there already, it stays and the partial one goes.

        After a power loss, too: what the record promises is on the disk before the record is, the record before its
        name.
        """
        partial, folder = self.partial(artifact), self.root / artifact.folder
        if self._is_finished(artifact):
            shutil.rmtree(partial)
            return
        shutil.rmtree(folder, ignore_errors=True)  # one without a record that can be read
        open_as_folder(partial)
        sync_below(partial)
        write_atomically(partial / RECORD, as_json(record))
        sync(partial)
        partial.rename(folder)
        sync(folder.parent)
        sync(self.root)

    def damaged(self, artifact: Artifact, thorough: bool = False) -> list[str]:
        """The files of a finished artifact whose bytes are not the recorded ones, or that are gone.

        Reads every byte here; of a remote artifact that is whole here, the bytes in the store only if `thorough`.
        """
        try:
            return damaged_in(self.path(artifact), self.record(artifact)["files"])
        except DamagedArtifact:
            return [RECORD]

    def lost(self, artifact: Artifact) -> list[str]:
        """The files that are gone or have another size than the recorded one: damage that is seen without reading."""
        folder, files = self.path(artifact), self.record(artifact)["files"]
        return [name for name, expected in files.items() if not has_size(folder / name, expected["bytes"])]

    def reopen(self, artifact: Artifact, files: Collection[str]) -> None:
        """Make the finished artifact partial again, without these files, so that a run makes only them again.

        What belongs to a file goes with it (`fall_with`). Without a record nobody knows which bytes are right: then
        nothing is left.
        """
        if RECORD in files:
            self.remove(artifact)
            return
        folder, partial = self.path(artifact), self.partial(artifact)
        falling = fall_with(set(files), self.record(artifact)["files"])
        shutil.rmtree(partial, ignore_errors=True)
        self._unlink_record(folder)
        for name in falling:
            (folder / name).unlink(missing_ok=True)
        drop_empty(folder)
        folder.rename(partial)

    def remove(self, artifact: Artifact) -> None:
        """The record goes first, so that a kill leaves no half that looks whole."""
        folder = self.path(artifact)
        self._unlink_record(folder)
        shutil.rmtree(folder)

    def seal(self, artifact: Artifact, case: str) -> None:
        """Move the artifact, with the record of its bytes, to where no command reads it; nobody writes to it."""
        folder, sealed = self.path(artifact), self.root / "held" / case / artifact.folder
        if sealed.exists():  # made again since it was held: the same bytes
            self.remove(artifact)
            return
        sealed.parent.mkdir(parents=True, exist_ok=True)
        for file in (path for path in folder.rglob("*") if path.is_file()):
            file.chmod(0o400)
        folder.rename(sealed)
        for changed in (*sealed.parents[:4], folder.parent):
            sync(changed)

    def holds(self) -> dict[str, list[str]]:
        """What is held, by case: kind/name-fingerprint."""
        cases = {case.name: listed(case, "*/*") for case in listed(self.root / "held", "*")}
        return {case: [f"{path.parent.name}/{path.name}" for path in sealed] for case, sealed in cases.items()}

    def discard(self, artifact: Artifact) -> None:
        shutil.rmtree(self.partial(artifact), ignore_errors=True)

    def read(self, name: str) -> bytes | None:
        """A small file of the workspace itself, "runs/nightly.json"; None where there is none."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.root / name, data)
        sync((self.root / name).parent)

    def erase(self, name: str) -> None:
        """Remove such a file, or a folder."""
        if (self.root / name).is_dir():
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """The small JSON files of a folder, in order: ["runs/nightly.json"]."""
        return [f"{folder}/{path.name}" for path in listed(self.root / folder, "[!.]*.json")]

    def litter(self) -> list[str]:
        """Folders that belong to no artifact: what killed removals have left."""
        folders = [path for path in listed(self.root, "*/*") if Artifact.at(path.parent.name, path.name)]
        return [f"{path.parent.name}/{path.name}" for path in folders if path.is_dir() and not (path / RECORD).exists()]

    def usage(self) -> dict[str, int]:
        """Bytes on the disk by top-level name: kinds of artifacts, tables.duckdb, logs. A linked file counts once."""
        seen: set[int] = set()
        return {path.name: _bytes_of(path, seen) for path in listed(self.root, "*")}

    def touched(self, artifact: Artifact) -> datetime | None:
        """When something was written last into a partial artifact."""
        times = [stat.st_mtime for _, stat in _stats(self.partial(artifact))]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _named(self, kind: str, ending: str = "") -> Iterator[Artifact]:
        """The artifacts of a kind that have a folder, finished or not."""
        for path in listed(self.root / kind, "*"):
            if artifact := Artifact.at(kind, path.name, ending):
                yield artifact

    def _is_finished(self, artifact: Artifact) -> bool:
        """Whether it has a record that can be read."""
        try:
            return bool(self.record(artifact))
        except (MissingArtifact, DamagedArtifact):
            return False

    def _unlink_record(self, folder: Path) -> None:
        (folder / RECORD).unlink()
        sync(folder)  # it must not come back without the files

    def _record(self, artifact: Artifact) -> Path:
        return self.root / artifact.folder / RECORD


def refuse_case(case: str) -> None:
    """BadInput for a case that cannot be a folder's name, or could be an artifact's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", case) or NAMED.match(case):
        raise BadInput(f"expected a case of letters, digits, dashes, underscores and dots, found {case!r}")


def fall_with(damaged: set[str], names: Iterable[str]) -> set[str]:
    """The files of an artifact that go with the damaged ones, so that nothing looks whole that is not.

    The shards of one part (logits-X, label_curves-X, metrics-X) are made together. A model or a checkpoint is a folder,
    made by a training that is done again from its beginning: all folders go.
    """
    parts, nested = {part_of(name) for name in damaged} - {""}, any("/" in name for name in damaged)
    return {name for name in names if name in damaged or part_of(name) in parts or (nested and "/" in name)}


def part_of(name: str) -> str:
    """The part of its artifact that a shard belongs to: logits-00000000-00000004.parquet -> 00000000-00000004."""
    return PurePosixPath(name).stem.partition("-")[2] if "/" not in name else ""


def _bytes_of(path: Path, seen: set[int]) -> int:
    sizes = {stat.st_ino: stat.st_size for file, stat in _stats(path) if file.is_file() and stat.st_ino not in seen}
    seen |= sizes.keys()
    return sum(sizes.values())


def _stats(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A file or folder and all below it, but for what vanishes meanwhile."""
    for entry in [path, *listed(path, "**")]:
        with suppress(FileNotFoundError):
            yield entry, entry.stat()


def as_record(text: bytes, artifact: Artifact, address: str) -> dict[str, Any]:
    """The record of these bytes. Raises DamagedArtifact where they are none."""
    record = as_object(text, "files", "inputs", "counts", "made")
    if record is None:
        raise DamagedArtifact.of(artifact.folder, address, [RECORD])
    return record
