"""Bytes as they come: unpacked, and as text where they are UTF-8, or UTF-16 or UTF-32 that says so."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from storage.errors import BadInput
from tasks.texts.records import Record

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
MARKED = {  # UTF-32 before UTF-16, whose mark begins like it
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHERS = {
    b"%PDF-": "a PDF: name it .pdf",
    b"PK\x03\x04": "a zip archive: name it .docx or .epub if it is one, else unpack it",
    b"\x1f\x8b\x08": "gzip: name it .gz, after the ending of what it holds",
    b"\x28\xb5\x2f\xfd": "Zstandard: name it .zst, after the ending of what it holds",
    b"PAR1": "Parquet: name it .parquet",
    b"\xd0\xcf\x11\xe0": "an old Office document: save it as .docx",
    b"{\\rtf": "RTF: save it as .docx or as plain text",
}
"""How other kinds of files begin."""


def kind_of(path: Path) -> str:
    """The ending that says what a file holds, in small letters: .txt of Book.TXT.gz."""
    ending = path.suffix.lower()
    return Path(path.stem).suffix.lower() if ending in COMPRESSED else ending


def plain_records(path: Path) -> Iterator[Record]:
    yield Record("", read_utf8(path))


def read_utf8(path: Path) -> str:
    """The file's text, unpacked. Raises BadInput for half a compressed file, and with the byte offset for no UTF-8."""
    data = unpacked(path)
    for mark, what in OTHERS.items():
        if data.startswith(mark):
            raise BadInput(f"{path}: expected text, found {what}")
    encoding = next((encoding for mark, encoding in MARKED.items() if data.startswith(mark)), "utf-8")
    text = decoded(path, data, encoding)
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BadInput(
            f"{path}, line {line}: expected text, found a byte 0: if the file is UTF-16, convert it "
            "(iconv -f UTF-16LE -t UTF-8), else it is no text"
        )
    return text


def decoded(path: Path, data: bytes, encoding: str) -> str:
    """The text in this encoding. Raises BadInput with the offset of the first byte that is none of it."""
    try:
        return data.decode(encoding)
    except LookupError as error:
        raise BadInput(
            f"{path}: expected an encoding that exists, found {encoding}: convert the file to UTF-8"
        ) from error
    except UnicodeDecodeError as error:
        name = "UTF-8" if error.encoding.startswith("utf-8") else encoding
        latin = " if it is Latin-1" if error.encoding.startswith("utf-8") else ""
        raise BadInput(
            f"{path}: expected {name}, found byte 0x{data[error.start]:02x} at byte offset {error.start}: "
            f"convert the file (iconv{' -f LATIN1' if latin else ''} -t UTF-8{latin})"
        ) from error


def unpacked(path: Path) -> bytes:
    """The file's bytes, of a compressed file those that it holds, whole."""
    try:
        with pa.input_stream(str(path), compression=COMPRESSED.get(path.suffix.lower())) as stream:
            return bytes(stream.read())
    except OSError as error:
        if error.errno:  # the system's: the file is closed to us, not broken
            raise
        raise BadInput(f"{path}: expected a whole compressed file, found {error}: get it again") from error
