"""Objects below one URL, through fsspec: S3 and whatever else has a file system for it. Names are relative to the URL.

There is no rename here, and a listing is asked for anew each time: another machine may have written meanwhile.
Credentials come from the environment or fsspec's configuration, never from a URL. Passing faults of S3 (refused or
broken connections, 500, 503, throttling) are retried by botocore for about a minute.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from storage.errors import BadInput

ATTEMPTS = 10
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"retries": {"mode": "standard", "max_attempts": ATTEMPTS}}, "max_concurrency": 4},
    "file": {"auto_mkdir": True},
}
AT_ONCE = 8  # files under way at a time; of each, S3's library holds up to 4 x 50 MB in memory


class Objects:
    """The objects below `url`. Connects when it is first used; may be shared by threads."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        if "@" in rest.partition("/")[0]:
            raise BadInput(
                f"expected a URL without credentials, found some in {scheme}://...@{rest.partition('@')[2]}: "
                "give them in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)"
            )
        self.url = url.rstrip("/")

    @cached_property
    def _files(self) -> Any:
        """fsspec's file system, with names relative to the URL."""
        from fsspec.config import conf
        from fsspec.core import url_to_fs
        from fsspec.implementations.dirfs import DirFileSystem

        scheme = self.url.partition("://")[0].replace("s3a", "s3")
        options = {name: value for name, value in OPTIONS.get(scheme, {}).items() if name not in conf.get(scheme, {})}
        try:
            files, root = url_to_fs(self.url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"expected a root that fsspec can open, found {self.url}: {error} (for s3: pip install 'nepenthe[s3]')"
            ) from error
        return DirFileSystem(root.rstrip("/"), files)

    def read(self, name: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        try:
            return bytes(self._files.cat_file(name))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in the place of an older one."""
        self._files.pipe_file(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object where there is none. Whether it was written: of several writers one is, on S3 for certain.

        A write whose answer was lost is repeated, and then finds itself: compare before you take it for another's.
        """
        try:
            self._files.pipe_file(name, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            if self._files.exists(name):  # a store that knows no conditions
                return False
            self.write(name, data)
        return True

    def erase(self, name: str) -> None:
        """Remove an object, or all below a name; nothing where there is nothing."""
        with suppress(FileNotFoundError):
            self._files.rm(name, recursive=True)

    def folders(self, name: str) -> list[str]:
        """The names of what lies directly below a name, in order."""
        try:
            paths = self._files.ls(name, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def sizes(self, name: str) -> dict[str, int]:
        """Every object below a name, with its size in bytes. The names are relative to it."""
        below = self._files.find(name, detail=True)
        return {path.removeprefix(f"{name}/"): info["size"] for path, info in below.items()}

    def newest(self, name: str) -> datetime | None:
        """When something below a name was written last; None where there is nothing."""
        return max(map(_time_of, self._files.find(name, detail=True).values()), default=None)

    def changed(self, name: str) -> datetime | None:
        """When an object was written last, by the store's clock; None where there is none."""
        try:
            changed: datetime = self._files.modified(name)
        except FileNotFoundError:
            return None
        return changed

    def upload(self, pairs: Iterable[tuple[Path, str]]) -> None:
        """Copy local files to objects, several at a time."""
        for paths, names in _batches(pairs):
            self._files.put([str(path) for path in paths], names)

    def download(self, pairs: Iterable[tuple[str, Path]]) -> None:
        """Copy objects to local files, several at a time; those that are not there are left out."""
        for names, paths in _batches(pairs):
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._files.get(names, [str(path) for path in paths])
            except FileNotFoundError:
                for name, path in zip(names, paths, strict=True):
                    with suppress(FileNotFoundError):
                        self._files.get([name], [str(path)])

    def copy(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Copy objects to objects, in the store."""
        for names, targets in _batches(pairs):
            self._files.copy(names, targets, on_error="raise")


def _batches(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[list[Any], list[Any]]]:
    every = list(pairs)
    for start in range(0, len(every), AT_ONCE):
        sources, targets = zip(*every[start : start + AT_ONCE], strict=True)
        yield list(sources), list(targets)


def _time_of(info: Mapping[str, Any]) -> datetime:
    """S3 says LastModified, memory created, a local folder mtime in seconds."""
    time = info.get("LastModified") or info.get("created") or info["mtime"]
    return time if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
