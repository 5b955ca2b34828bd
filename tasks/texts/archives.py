"""Documents that are zip archives: opened, or refused with what is wrong with them."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import error as ZlibError

from storage.errors import BadInput

OLD_OFFICE = b"\xd0\xcf\x11\xe0"


@contextmanager
def archive(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a document of this kind. Raises BadInput where it is none, or not whole."""
    try:
        with zipfile.ZipFile(path) as opened:
            bad = opened.testzip()
            if bad:
                raise zipfile.BadZipFile(f"{bad} with other bytes than its checksum says")
            yield opened
    except (zipfile.BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{path}: expected {kind}, found {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins = file.read(4)
    if begins == OLD_OFFICE:
        return "an old Office document, or one with a password: open it and save it as .docx without one"
    if "encrypted" in str(error):
        return "that it is locked: save it without a password"
    if not begins:
        return "an empty file: get it again"
    return f"{'a damaged archive' if begins == b'PK' + bytes((3, 4)) else 'no zip archive'} ({error}): get it again"
