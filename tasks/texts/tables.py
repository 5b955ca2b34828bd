"""Files of rows: JSON lines, a JSON array, CSV, Parquet. A record is the text of a row, or the conversation in it."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import BadInput
from tasks.texts.conversations import PAIRS, turns_of
from tasks.texts.plain import read_utf8
from tasks.texts.records import Record

Placed = tuple[int, str, Any]
"""A row's number, where in the file it stands, in words, and the row itself, of whatever type."""
COLUMN = "text"
"""The column that is read where the user names none; records without it may be conversations."""
SETTING = "corpus.text_column"
"""What names the column. Whoever reads for another setting puts that one's in its place (look.read_once)."""


def jsonl_rows(path: Path, _column: str = "") -> Iterator[Placed]:
    """A row a line; blank lines are none."""
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield number, where, json.loads(line)
        except ValueError as error:
            raise BadInput(f"{where}: expected a JSON object, found {error}: is the line whole?") from error


def json_rows(path: Path, _column: str = "") -> Iterator[Placed]:
    """An array of rows; JSON lines under this name are read as such."""
    text = read_utf8(path)
    if not text.lstrip().startswith("["):
        yield from jsonl_rows(path)
        return
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{path}: expected a JSON array of objects, found {error}: is the file whole?") from error
    for number, row in enumerate(rows, start=1):
        yield number, f"{path}, record {number}", row


def csv_rows(path: Path, _column: str = "") -> Iterator[Placed]:
    """A row a line below the names of the columns. The separator is what the names are separated by."""
    csv.field_size_limit(sys.maxsize)
    text = read_utf8(path)
    names = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=names.count), strict=True)
    try:
        header = next(rows, [])
        if not header or len(set(header)) < len(header):
            raise BadInput(
                f"{path}, line 1: expected a name for every column, each once, found {header or 'none'}: name them"
            )
        for number, cells in enumerate(rows, start=1):
            where = f"{path}, line {rows.line_num}"
            if cells and len(cells) != len(header):
                raise BadInput(
                    f"{where}: expected {len(header)} cells, as there are names of columns, found {len(cells)}: "
                    "put a text that holds the separator or a line break in quotation marks"
                )
            if cells:
                yield number, where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {rows.line_num}: expected CSV, found {error}: double the quotation marks within a text"
        ) from error


def parquet_rows(path: Path, column: str = "") -> Iterator[Placed]:
    """A row a row; of a file with the column nothing else is read."""
    try:
        file = pq.ParquetFile(path)
        names = [column] if column in file.schema_arrow.names else None
        rows = (row for batch in file.iter_batches(columns=names) for row in batch.to_pylist())
        for number, row in enumerate(rows, start=1):
            yield number, f"{path}, row {number}", row
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadInput(f"{path}: expected a Parquet file, found {error}: get it again") from error


def record_of(row: object, column: str, number: int, where: str) -> Record:
    """The text in a column of a row, or the conversation. Raises BadInput for a row that has neither."""
    if not isinstance(row, dict):
        hint = ": an array of records is named .json" if isinstance(row, list) else ""
        raise BadInput(f'{where}: expected a record with a text in "{column}", found {type(row).__name__}{hint}')
    if column in row and isinstance(row[column], str | None):
        return Record(str(number), _whole(row[column] or "", where))
    turns = turns_of(row, where) if column == COLUMN and column not in row else None
    if turns is None:
        pairs = ", ".join(" and ".join(pair) for pair in PAIRS)
        raise BadInput(
            f'{where}: expected a record with a text in "{column}", found {_shown(row, column)}: '
            f"set {SETTING}, or name the columns {pairs}, or messages"
        )
    return Record(str(number), turns=turns, dropped=None if turns else "without an answer")


def _whole(text: str, where: str) -> str:
    """JSON can write half of a character of two UTF-16 units, which no file of text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{where}: expected text, found half a character (\\u{ord(text[error.start]):04x}) at character "
            f"{error.start}: write the text out again as UTF-8"
        ) from error
    return text


def _shown(row: dict[str, object], column: str) -> str:
    return f"{type(row[column]).__name__} there" if column in row else str(sorted(map(str, row)))
