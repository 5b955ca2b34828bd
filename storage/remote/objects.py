"""Objects below one URL, through fsspec: S3 and whatever else has a file system for it. Names are relative to the URL.

There is no rename here, and a listing is asked for anew each time: another machine may have written meanwhile.
Credentials come from the environment or fsspec's configuration, never from a URL. Passing faults of S3 (refused or
broken connections, 500, 503, throttling) are retried by botocore for about a minute.
"""

import errno
from collections.abc import Iterable, Mapping
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
    def _opened(self) -> tuple[Any, str]:
        """fsspec's file system and our path in it."""
        from fsspec.config import conf
        from fsspec.core import url_to_fs

        scheme = self.url.partition("://")[0].replace("s3a", "s3")
        options = {name: value for name, value in OPTIONS.get(scheme, {}).items() if name not in conf.get(scheme, {})}
        try:
            files, root = url_to_fs(self.url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as error:
            raise BadInput(
                f"expected a root that fsspec can open, found {self.url}: {error} (for s3: pip install 'nepenthe[s3]')"
            ) from error
        return files, root.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """An object's bytes; None where there is none."""
        files, root = self._opened
        try:
            data: bytes = files.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write an object, in the place of an older one."""
        files, root = self._opened
        files.pipe_file(f"{root}/{name}", data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object where there is none. Whether it was written: of several writers one is, on S3 for certain.

        A write whose answer was lost is repeated, and then finds itself: compare before you take it for another's.
        """
        files, root = self._opened
        try:
            files.pipe_file(f"{root}/{name}", data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            if files.exists(f"{root}/{name}"):  # a store that knows no conditions
                return False
            files.pipe_file(f"{root}/{name}", data)
        return True

    def erase(self, name: str) -> None:
        """Remove an object, or all below a name; nothing where there is nothing."""
        files, root = self._opened
        with suppress(FileNotFoundError):
            files.rm(f"{root}/{name}", recursive=True)

    def folders(self, name: str) -> list[str]:
        """The names of what lies directly below a name, in order."""
        files, root = self._opened
        try:
            paths = files.ls(f"{root}/{name}".rstrip("/"), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def sizes(self, name: str) -> dict[str, int]:
        """Every object below a name, with its size in bytes. The names are relative to it."""
        return {below: info["size"] for below, info in self._below(name).items()}

    def newest(self, name: str) -> datetime | None:
        """When something below a name was written last; None where there is nothing."""
        return max((_time_of(info) for info in self._below(name).values()), default=None)

    def _below(self, name: str) -> dict[str, Any]:
        files, root = self._opened
        base = f"{root}/{name}".rstrip("/")
        infos: Mapping[str, Any] = files.find(base, detail=True)
        return {path.removeprefix(f"{base}/"): info for path, info in infos.items()}

    def changed(self, name: str) -> datetime | None:
        """When an object was written last, by the store's clock; None where there is none."""
        files, root = self._opened
        try:
            changed: datetime = files.modified(f"{root}/{name}")
        except FileNotFoundError:
            return None
        return changed

    def upload(self, pairs: Iterable[tuple[Path, str]]) -> None:
        """Copy local files to objects, several at a time."""
        for batch in _batches(pairs):
            files, root = self._opened
            files.put([str(path) for path, _ in batch], [f"{root}/{name}" for _, name in batch])

    def download(self, pairs: Iterable[tuple[str, Path]]) -> None:
        """Copy objects to local files, several at a time; those that are not there are left out."""
        for batch in _batches(pairs):
            for _, path in batch:
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._get(batch)
            except FileNotFoundError:
                for pair in batch:
                    with suppress(FileNotFoundError):
                        self._get([pair])

    def _get(self, pairs: list[tuple[str, Path]]) -> None:
        files, root = self._opened
        files.get([f"{root}/{name}" for name, _ in pairs], [str(path) for _, path in pairs])

    def copy(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Copy objects to objects, in the store."""
        for batch in _batches(pairs):
            files, root = self._opened
            files.copy([f"{root}/{old}" for old, _ in batch], [f"{root}/{new}" for _, new in batch], on_error="raise")


def _batches(pairs: Iterable[tuple[Any, Any]]) -> list[list[tuple[Any, Any]]]:
    every = list(pairs)
    return [every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE)]


def _time_of(info: Mapping[str, Any]) -> datetime:
    """S3 says LastModified, memory created, a local folder mtime in seconds."""
    time = info.get("LastModified") or info.get("created") or info["mtime"]
    return time if isinstance(time, datetime) else datetime.fromtimestamp(time, UTC)
