"""Users' text files as they come: compressed, with a byte-order mark, with records that hold no text."""

import bz2
import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from storage.errors import BadInput
from storage.files import Hashes
from tasks.texts import find_files, normalise, read_documents

TEXT = "Dorothy lived in the midst of the great Kansas prairies.\n" * 50
ROWS = [{"text": TEXT}, {"text": None, "id": 2}, {"text": "Toto ran."}]


def read(path: Path) -> list[tuple[str, str]]:
    files = find_files((str(path),), Hashes(path.parent / "hashes.json"))
    return [(text.source, normalise(text.text)) for text in read_documents(files, "text")]


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


PACKED = [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)]


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), *PACKED])
def test_a_compressed_file_is_what_it_holds(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / f"book.txt{ending}").write_bytes(pack(TEXT.encode()))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / f"rows.jsonl{ending}").write_bytes(pack(lines.encode()))
    expected = [(f"book.txt{ending}", TEXT)]
    expected += [(f"rows.jsonl{ending}:{number}", row["text"] or "") for number, row in enumerate(ROWS, start=1)]
    assert read(tmp_path) == expected


@pytest.mark.parametrize(("ending", "pack"), PACKED)
def test_half_a_compressed_file_is_not_half_read(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    noise = "".join(chr(97 + (number * number) % 23) for number in range(200_000))
    packed = pack(noise.encode())
    path = tmp_path / f"book.txt{ending}"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BadInput, match=r"book\.txt"):
        read(path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode())
    assert [text for _, text in read(tmp_path)] == [TEXT, TEXT]


@pytest.mark.parametrize("line", ['{"title": "Oz"}', '{"text": 7}', '"Oz"', "null", "[]"])
def test_a_record_without_the_column_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(BadInput, match=r'rows\.jsonl, line 1: expected a record with a text in "text"'):
        read(tmp_path)


def test_the_last_ending_says_what_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.txt").write_text('{"text": "Oz"}', encoding="utf-8")
    assert read(tmp_path) == [("rows.jsonl.txt", '{"text": "Oz"}')]


def test_a_file_that_is_closed_to_the_user_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")

    def closed(path: str, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("tasks.texts.plain.pa.input_stream", closed)
    with pytest.raises(PermissionError):
        read(tmp_path)
