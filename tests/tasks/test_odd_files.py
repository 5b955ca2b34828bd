"""Files as they should not be: read as what they are, or refused with the file, the place and the next step."""

import bz2
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import BadInput
from storage.files import Hashes
from tasks.texts import find_files, read_texts

TEXT = "Dorothy lived in the midst of the great Kansas prairies, \u201cwith\u201d Uncle Henry."
ROW = json.dumps({"text": TEXT})
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def read(path: Path) -> list[str]:
    files = find_files((str(path),), Hashes(path.parent.parent / "hashes.json"))
    return list(read_texts(files, "text"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "books").mkdir()
    return tmp_path / "books"


def parquet(table: dict[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "data", "texts"),
    [
        ("marked.txt", TEXT.encode("utf-16"), [TEXT]),
        ("marked-32.txt", TEXT.encode("utf-32"), [TEXT]),
        ("BOOK.TXT", TEXT.encode(), [TEXT]),
        ("BOOK.TXT.GZ", gzip.compress(TEXT.encode()), [TEXT]),
        ("rows.JSONL.bz2", bz2.compress(ROW.encode()), [TEXT]),
        ("array.json", f" [{ROW},\n {ROW}]".encode(), [TEXT, TEXT]),
        ("lines.json", f"{ROW}\n{ROW}\n".encode(), [TEXT, TEXT]),
        ("quotes.csv", b'id,text\r\n1,"He said ""no"", and\r\nleft"\r\n\r\n2,\r\n', ['He said "no", and\r\nleft', ""]),
        ("semicolons.csv", b'\xef\xbb\xbftext;year\n"a; b";1900\n', ["a; b"]),
        ("tabs.tsv", b"year\ttext\n1900\ta, b; c\n", ["a, b; c"]),
        ("empty.txt", b"", [""]),
        ("only-a-mark.txt", b"\xef\xbb\xbf", [""]),
        ("empty.jsonl", b"\n\n", []),
        ("page.html", b"<nav>Home</nav>", [""]),
        ("empty.html", b"", [""]),
        ("page.xhtml", '<?xml version="1.0" encoding="ISO-8859-1"?><p>caf\xe9</p>'.encode("latin-1"), ["caf\xe9"]),
        ("names.parquet", parquet({"text": pa.array([TEXT, None]).dictionary_encode(), "year": [1, 2]}), [TEXT, ""]),
    ],
)
def test_what_can_be_read_is_read_as_what_it_is(folder: Path, name: str, data: bytes, texts: list[str]) -> None:
    (folder / name).write_bytes(data)
    assert read(folder / name) == texts


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("latin.txt", "caf\xe9".encode("latin-1"), r"found byte 0xe9 at byte offset 3: .*iconv -f LATIN1 -t UTF-8"),
        ("unmarked.txt", ("\n" + TEXT).encode("utf-16-le")[:100], r"line 2: expected text, found a byte 0: .*UTF-16LE"),
        ("odd.txt", TEXT.encode("utf-16")[:-1], r"expected utf-16, found byte 0x"),
        ("zeros.md", bytes(100), r"found a byte 0: .*else it is no text"),
        ("really.txt", b"%PDF-1.7\n", r"expected text, found a PDF: name it \.pdf"),
        ("really.md", b"PK\x03\x04", r"found a zip archive: name it \.docx or \.epub"),
        ("twice.txt.gz", gzip.compress(gzip.compress(TEXT.encode())), r"found gzip: name it \.gz"),
        ("word.txt", OLE, r"found an old Office document: save it as \.docx"),
        ("rich.txt", b"{\\rtf1", r"found RTF: save it as"),
        ("not.txt.gz", TEXT.encode(), r"expected a whole compressed file, found .*get it again"),
        ("not.pdf", TEXT.encode(), r"expected a whole PDF, found .*get it again"),
        ("empty.pdf", b"", r"expected a whole PDF, found .*get it again"),
        ("not.docx", TEXT.encode(), r"expected a Word document \(\.docx\), found no zip archive .*get it again"),
        ("old.docx", OLE, r"found an old Office document, or one with a password: open it and save it"),
        ("empty.docx", b"", r"found an empty file: get it again"),
        ("not.epub", b"PK\x03\x04" + TEXT.encode(), r"expected an EPUB, found a damaged archive .*get it again"),
        ("not.parquet", TEXT.encode(), r"expected a Parquet file, found .*get it again"),
        ("empty.parquet", b"", r"expected a Parquet file, found .*get it again"),
        ("numbers.parquet", parquet({"text": [1, 2]}), r"row 1: expected a record with a text in \"text\", found int"),
        ("other.parquet", parquet({"body": ["x"]}), r"row 1: .*found \['body'\]: set corpus\.text_column, or name"),
        ("array.jsonl", f"[{ROW}]".encode(), r"line 1: .*found list: an array of records is named \.json"),
        ("cut.jsonl", f"{ROW}\n{ROW[:-9]}".encode(), r"line 2: expected a JSON object, found .*is the line whole\?"),
        ("cut.json", f"[{ROW}, ".encode(), r"expected a JSON array of objects, found .*is the file whole\?"),
        (
            "half.jsonl",
            b'{"text": "a \\ud83d b"}',
            r"line 1: expected text, found half a character \(\\ud83d\) at char",
        ),
        (
            "ragged.csv",
            b"text,year\nHe said, no,1900\n",
            r"line 2: expected 2 cells, .*found 3: put a text .*quotation",
        ),
        ("open.csv", b'text,year\n"He said, no,1900\n', r"line 2: expected CSV, found .*double the quotation marks"),
        ("twice.csv", b"text,text\na,b\n", r"line 1: expected a name for every column, each once"),
        ("empty.csv", b"", r"line 1: expected a name for every column, each once, found none"),
        (
            "book.pdf.gz",
            gzip.compress(b"%PDF-"),
            r"expected a file with one of .*found another kind at .*: name another",
        ),
        ("book.doc", OLE, r"expected a file with one of .*found another kind"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place_and_the_way_on(
    folder: Path, name: str, data: bytes, words: str
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(BadInput, match=words) as refusal:
        read(folder / name)
    assert name in str(refusal.value)


def test_links_that_lead_nowhere_are_refused_and_loops_of_folders_end(folder: Path) -> None:
    (folder / "book.txt").write_text(TEXT, encoding="utf-8")
    (folder / "again").symlink_to(folder)
    assert read(folder) == [TEXT]
    (folder / "self.txt").symlink_to("self.txt")
    for path in (folder / "self.txt", folder):
        with pytest.raises(BadInput, match=r"self\.txt"):
            read(path)


def test_a_folder_named_like_a_file_is_a_folder_and_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "chapters.txt").mkdir()
    (folder / "chapters.txt" / "1.txt").write_text(TEXT, encoding="utf-8")
    assert read(folder / "chapters.txt") == read(folder) == [TEXT]
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(BadInput, match=r"pipe\.txt"):
        read(folder)


def test_what_programs_leave_beside_documents_is_no_document(folder: Path) -> None:
    for name in ("~$book.docx", "._book.txt", ".~lock.book.docx#", "notes.json"):
        (folder / name).write_bytes(b"\x05Mac")
    (folder / "book.txt").write_text(TEXT, encoding="utf-8")
    assert read(folder) == [TEXT]


def test_the_command_says_it_in_one_line_and_leaves_nothing(
    command: Callable[..., Any], make_job: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    (folder / "book.docx").write_bytes(OLE)
    ended = command("unlearn", make_job(), "--root", tmp_path / "ws", "--set", 'corpus.paths=["books"]')
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "book.docx: expected a Word document" in ended.stderr
    assert not list((tmp_path / "ws").glob("*/*.partial"))
