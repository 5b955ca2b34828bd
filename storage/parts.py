"""Finished parts of unfinished artifacts in an object store: shards, checkpoints, models. Others go on there.

A part counts when its manifest is there, which is written last: a torn upload of a checkpoint is no checkpoint.
"""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storage.artifact import Artifact
from storage.cache import Cache, Recorded
from storage.folder import PARTIAL, Folder, as_json, files_in
from storage.objects import Objects

KEPT = ".kept"


class Parts:
    """The parts of one workspace, and which of them this process has."""

    def __init__(self, objects: Objects, cache: Cache, here: Folder) -> None:
        self._objects, self._cache, self._here = objects, cache, here
        self._had: dict[Artifact, set[str]] = {}

    def keep(self, artifact: Artifact, part: Path) -> None:
        """Upload a part. What this process had and is gone here, like the last checkpoint but one, goes there too."""
        folder, had = self._here.partial(artifact), self._had.setdefault(artifact, set())
        name = part.relative_to(folder).as_posix()
        if name in had:
            self._drop(artifact, name)
        files = files_in(folder, part)
        self._objects.upload((folder / file, f"{_address(artifact)}/{file}") for file in files)
        self._objects.write(_manifest(artifact, name), as_json({"name": name, "files": files}))
        had.add(name)
        for gone in [other for other in had if not (folder / other).exists()]:
            self._drop(artifact, gone)
            had.discard(gone)

    def resume(self, artifact: Artifact) -> Path:
        """The local partial folder, with every part that is in the store and not here."""
        folder, had = self._here.resume(artifact), self._had.setdefault(artifact, set())
        with self._cache.fetching(artifact) as room:
            for name, files in self.kept(artifact).items():
                if not _is_here(folder, name, files):
                    self._take(artifact, name, files, room)
                had.add(name)
        return folder

    def kept(self, artifact: Artifact) -> dict[str, Recorded]:
        """The parts in the store, with their files."""
        manifests = [
            f"{_address(artifact)}/{KEPT}/{name}" for name in self._objects.folders(f"{_address(artifact)}/{KEPT}")
        ]
        found: list[dict[str, Any]] = [json.loads(text) for name in manifests if (text := self._objects.read(name))]
        return {part["name"]: part["files"] for part in found}

    def move(self, artifact: Artifact, target: str, files: Recorded) -> None:
        """Put an artifact's files below `target` in the store: what was kept is copied there, the rest uploaded."""
        kept = {file: known for part in self.kept(artifact).values() for file, known in part.items()}
        there = self._objects.sizes(_address(artifact)) if kept else {}
        copied = [
            name for name, known in files.items() if kept.get(name) == known and there.get(name) == known["bytes"]
        ]
        folder = self._here.partial(artifact)
        self._objects.copy((f"{_address(artifact)}/{name}", f"{target}/{name}") for name in copied)
        self._objects.upload((folder / name, f"{target}/{name}") for name in files if name not in copied)

    def discard(self, artifact: Artifact) -> None:
        """Remove what was kept; the manifests first."""
        self._had.pop(artifact, None)
        self._objects.erase(f"{_address(artifact)}/{KEPT}")
        self._objects.erase(_address(artifact))

    def _take(self, artifact: Artifact, name: str, files: Recorded, room: Path) -> None:
        """Download a part; one that is not whole in the store is left there, to be made again."""
        if self._cache.download(_address(artifact), files, room):
            return
        target = self._here.partial(artifact) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        (room / name).rename(target)

    def _drop(self, artifact: Artifact, name: str) -> None:
        self._objects.erase(_manifest(artifact, name))
        self._objects.erase(f"{_address(artifact)}/{name}")


def _address(artifact: Artifact) -> str:
    return f"{artifact.folder}{PARTIAL}"


def _manifest(artifact: Artifact, part: str) -> str:
    return f"{_address(artifact)}/{KEPT}/{quote(part, safe='')}.json"


def _is_here(folder: Path, name: str, files: Recorded) -> bool:
    """A file has its name when it is whole; a folder may be torn."""
    if (folder / name).is_file():
        return True
    return all((folder / file).is_file() and (folder / file).stat().st_size == files[file]["bytes"] for file in files)
