"""Artifacts in an object store, with a local folder of copies and of what is being made here.

An object store has no rename. So each attempt to commit an artifact writes its files below a name of its own, and
record.json, written last and only where there is none, says which attempt counts:

    {kind}/{name}-{fingerprint}/record.json
    {kind}/{name}-{fingerprint}/{attempt}/logits-00000000-00000004.parquet
    {kind}/{name}-{fingerprint}.partial/...             finished parts of an unfinished artifact
    {kind}/{name}-{fingerprint}.partial/.kept/*.json    which those are, each written when its files are all there
"""

import fnmatch
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from storage.artifact import PARTIAL, RECORD, Artifact, as_json
from storage.errors import DamagedArtifact, MissingArtifact
from storage.files import Recorded, damaged_in
from storage.local import LocalStore, as_record, fall_with
from storage.remote.copies import Copies, Parts
from storage.remote.leases import Leases
from storage.remote.objects import Objects
from storage.workspace import Workspace

ATTEMPT = "attempt"
T = TypeVar("T")


def cache_of(url: str) -> Path:
    """The local folder of a URL: below NEPENTHE_CACHE, by default ~/.cache/nepenthe."""
    base = os.environ.get("NEPENTHE_CACHE") or Path.home() / ".cache" / "nepenthe"
    return Path(base).absolute() / sha256(url.rstrip("/").encode()).hexdigest()[:16]


class RemoteWorkspace(Workspace):
    """A workspace below one URL; the store alone knows which artifacts are finished."""

    def __init__(self, url: str) -> None:
        super().__init__(cache_of(url))
        self.address = url.rstrip("/")
        self._objects, self._here = Objects(url), LocalStore(self.root)
        self._copies = Copies(self.root, self._objects, self.hashes)
        self._parts = Parts(self._objects, self._copies, self.root)
        self.leases = Leases(self._objects, self.root)

    def all(self) -> list[Artifact]:
        dated = [
            (changed, artifact)
            for artifact in self._everywhere()
            if (changed := self._objects.changed(f"{artifact.folder}/{RECORD}"))
        ]
        return [artifact for _, artifact in sorted(dated, key=lambda pair: (pair[0], pair[1].folder))]

    def partials(self) -> list[Artifact]:
        return list(dict.fromkeys([*self._everywhere(PARTIAL), *self._here.partials()]))

    def record(self, artifact: Artifact) -> dict[str, Any]:
        text = self._objects.read(f"{artifact.folder}/{RECORD}")
        if text is None:
            raise MissingArtifact.of(artifact.folder, self.address)
        return as_record(text, artifact, self.address)

    def read_each(self, kind: str, pattern: str, read: Callable[[Path], T]) -> Iterator[T]:
        yield from self._here.read_each(kind, pattern, read)  # what cannot be fetched whole is left out
        for artifact in self._named(kind, PARTIAL):
            yield from self._parts.read_each(artifact, pattern, read)
        for artifact in self._named(kind):
            with suppress(MissingArtifact, DamagedArtifact):
                names = fnmatch.filter(self.record(artifact)["files"], pattern)
                folder = self.path(artifact, names)
                yield from [read(folder / name) for name in names]

    def path(self, artifact: Artifact, names: Iterable[str] | None = None) -> Path:
        """The local copy. Files that are not here, or not as recorded, are fetched first; by default all.

        Raises MissingArtifact, and DamagedArtifact where the store's bytes are not the recorded ones.
        """
        record, folder = self.record(artifact), self.root / artifact.folder
        files: Recorded = record["files"]
        wanted = files if names is None else {name: files[name] for name in names}
        self._copies.renew(artifact, record)
        if self._copies.lacking(folder, wanted):
            with self._copies.fetching(artifact) as room:
                lacking = {name: wanted[name] for name in self._copies.lacking(folder, wanted)}
                bad = self._copies.fetch(_source(artifact, record), lacking, room, folder)
            if bad:
                raise DamagedArtifact.of(artifact.folder, self.address, bad)
        return folder

    def resume(self, artifact: Artifact) -> Path:
        return self._parts.resume(artifact)

    def keep(self, artifact: Artifact, finished: Path) -> None:
        self._parts.keep(artifact, finished)

    def publish(self, artifact: Artifact, record: dict[str, Any]) -> None:
        """The files, then the record. Where another machine was first, its artifact stays and ours goes."""
        attempt = uuid.uuid4().hex[:12]
        target, described = f"{artifact.folder}/{attempt}", record | {ATTEMPT: attempt}
        there = self._has_record(artifact)
        if not self._is_finished(artifact):
            if there:  # it cannot be read; one that came since then can
                self._objects.erase(f"{artifact.folder}/{RECORD}")
            self._parts.move(artifact, target, record["files"])
            self._objects.create(f"{artifact.folder}/{RECORD}", as_json(described))
        finished, folder = self.record(artifact), self.root / artifact.folder
        shutil.rmtree(folder, ignore_errors=True)  # copies of what was there before
        if finished[ATTEMPT] == attempt:
            self._here.publish(artifact, described)
            self.hashes.know(folder, record["files"])
        else:
            self._objects.erase(target)
        self.discard(artifact)

    def damaged(self, artifact: Artifact, thorough: bool = False) -> list[str]:
        """`thorough` fetches all files again; else one that is whole here, and has its size there, counts as whole."""
        try:
            record, folder = self.record(artifact), self.root / artifact.folder
        except DamagedArtifact:
            return [RECORD]
        files: Recorded = record["files"]
        self._copies.renew(artifact, record)
        lost = self._lost(artifact, record)
        suspect = set(files if thorough else damaged_in(folder, files)) - set(lost)
        with self._copies.fetching(artifact) as room:
            looked_at = {name: files[name] for name in files if name in suspect}
            bad = self._copies.fetch(_source(artifact, record), looked_at, room, folder)
        return [name for name in files if name in lost or name in bad]

    def lost(self, artifact: Artifact) -> list[str]:
        return self._lost(artifact, self.record(artifact))

    def reopen(self, artifact: Artifact, files: Collection[str]) -> None:
        if RECORD in files:
            self.remove(artifact)
            return
        every: Recorded = self.record(artifact)["files"]
        staying = every.keys() - fall_with(set(files), every)
        self.path(artifact, staying)
        self._parts.discard(artifact)
        self._here.reopen(artifact, files)
        for part in sorted({name if "/" not in name else str(PurePosixPath(name).parent) for name in staying}):
            self.keep(artifact, self.partial(artifact) / part)
        self._erase_finished(artifact)

    def remove(self, artifact: Artifact) -> None:
        """The record goes first. Copies on other machines are litter there."""
        if not self._has_record(artifact):
            raise MissingArtifact.of(artifact.folder, self.address)
        self._erase_finished(artifact)
        shutil.rmtree(self.root / artifact.folder, ignore_errors=True)

    def seal(self, artifact: Artifact, case: str) -> None:
        """Copy its objects, the record last, and remove it. Who may write to the copies is the store's to say."""
        sealed = f"held/{case}/{artifact.folder}"
        if self._objects.changed(f"{sealed}/{RECORD}") is None:  # else made again since it was held: the same bytes
            files = self._objects.sizes(artifact.folder).keys() - {RECORD}
            for names in (files, {RECORD}):
                self._objects.copy((f"{artifact.folder}/{name}", f"{sealed}/{name}") for name in names)
        self.remove(artifact)

    def holds(self) -> dict[str, list[str]]:
        files = {case: sorted(self._objects.sizes(f"held/{case}")) for case in self._objects.folders("held")}
        end = f"/{RECORD}"
        return {case: [name.removesuffix(end) for name in names if name.endswith(end)] for case, names in files.items()}

    def discard(self, artifact: Artifact) -> None:
        self._parts.discard(artifact)
        self._here.discard(artifact)

    def read(self, name: str) -> bytes | None:
        """What an earlier release left on this machine alone counts, too: what people decided."""
        data = self._objects.read(name)
        return self._here.read(name) if data is None else data

    def write(self, name: str, data: bytes) -> None:
        self._objects.write(name, data)

    def erase(self, name: str) -> None:
        self._objects.erase(name)
        self._here.erase(name)

    def names(self, folder: str) -> list[str]:
        return [f"{folder}/{name}" for name in self._objects.folders(folder) if name.endswith(".json")]

    def litter(self) -> list[str]:
        """What belongs to no artifact: uploads that were killed or came second, copies of what was removed."""
        torn, finished = [], []
        for artifact in self._everywhere():
            if not self._has_record(artifact):
                torn.append(artifact.folder)
                continue
            finished.append(artifact)
            with suppress(DamagedArtifact):  # `verify --repair` is for it
                counts = {RECORD, self.record(artifact)[ATTEMPT]}
                torn += [f"{artifact.folder}/{n}" for n in self._objects.folders(artifact.folder) if n not in counts]
        stale = [artifact.folder for artifact in self._here.all() if artifact not in finished]
        return list(dict.fromkeys([*torn, *stale, *self._here.litter()]))

    def usage(self) -> dict[str, int]:
        """Bytes in the store by top-level name: kinds of artifacts, runs, removed."""
        return {name: sum(self._objects.sizes(name).values()) for name in self._objects.folders("")}

    def touched(self, artifact: Artifact) -> datetime | None:
        here = self._here.touched(artifact) if self.partial(artifact).exists() else None
        there = self._objects.newest(artifact.partial)
        return max(filter(None, (here, there)), default=None)

    def _everywhere(self, ending: str = "") -> Iterator[Artifact]:
        for kind in self._objects.folders(""):
            yield from self._named(kind, ending)

    def _named(self, kind: str, ending: str = "") -> Iterator[Artifact]:
        for folder in self._objects.folders(kind):
            if artifact := Artifact.at(kind, folder, ending):
                yield artifact

    def _has_record(self, artifact: Artifact) -> bool:
        return self._objects.changed(f"{artifact.folder}/{RECORD}") is not None

    def _lost(self, artifact: Artifact, record: dict[str, Any]) -> list[str]:
        sizes = self._objects.sizes(_source(artifact, record))
        return [name for name, expected in record["files"].items() if sizes.get(name) != expected["bytes"]]

    def _erase_finished(self, artifact: Artifact) -> None:
        self._objects.erase(f"{artifact.folder}/{RECORD}")
        self._objects.erase(artifact.folder)


def _source(artifact: Artifact, record: dict[str, Any]) -> str:
    return f"{artifact.folder}/{record[ATTEMPT]}"
