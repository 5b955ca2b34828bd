"""Files of records: JSON lines, a JSON array, CSV, Parquet. A record has a text in a column, or a conversation."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import BadInput
from tasks.texts.conversations import PAIRS, turns_of
from tasks.texts.plain import read_utf8
from tasks.texts.records import Record

COLUMN = "text"
"""The column that is read where the user names none; records without it may be conversations."""


def jsonl_records(path: Path, column: str) -> Iterator[Record]:
    """A record a line; blank lines are none."""
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInput(
                f"{path}, line {number}: expected a JSON object, found {error}: is the line whole?"
            ) from error
        yield _record(row, column, str(number), f"{path}, line {number}")


def json_records(path: Path, column: str) -> Iterator[Record]:
    """An array of records; JSON lines under this name are read as such."""
    text = read_utf8(path)
    if not text.lstrip().startswith("["):
        yield from jsonl_records(path, column)
        return
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{path}: expected a JSON array of objects, found {error}: is the file whole?") from error
    for number, row in enumerate(rows, start=1):
        yield _record(row, column, str(number), f"{path}, record {number}")


def csv_records(path: Path, column: str) -> Iterator[Record]:
    """A record a row below the names of the columns. The separator is what the names are separated by."""
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
            place = f"{path}, line {rows.line_num}"
            if cells and len(cells) != len(header):
                raise BadInput(
                    f"{place}: expected {len(header)} cells, as there are names of columns, found {len(cells)}: "
                    "put a text that holds the separator or a line break in quotation marks"
                )
            if cells:
                yield _record(dict(zip(header, cells, strict=True)), column, str(number), place)
    except csv.Error as error:
        raise BadInput(
            f"{path}, line {rows.line_num}: expected CSV, found {error}: double the quotation marks within a text"
        ) from error


def parquet_records(path: Path, column: str) -> Iterator[Record]:
    """A record a row; of a file with the column nothing else is read."""
    try:
        file = pq.ParquetFile(path)
        names = [column] if column in file.schema_arrow.names else None
        number = 0
        for batch in file.iter_batches(columns=names):
            for row in batch.to_pylist():
                number += 1
                yield _record(row, column, str(number), f"{path}, row {number}")
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise BadInput(f"{path}: expected a Parquet file, found {error}: get it again") from error


def _record(row: object, column: str, place: str, where: str) -> Record:
    if not isinstance(row, dict):
        hint = ": an array of records is named .json" if isinstance(row, list) else ""
        raise BadInput(f'{where}: expected a record with a text in "{column}", found {type(row).__name__}{hint}')
    if column in row and isinstance(row[column], str | None):
        return Record(place, _whole(row[column] or "", where))
    turns = turns_of(row, where) if column == COLUMN and column not in row else None
    if turns is None:
        pairs = ", ".join(" and ".join(pair) for pair in PAIRS)
        raise BadInput(
            f'{where}: expected a record with a text in "{column}", found {_shown(row, column)}: '
            f"set corpus.text_column, or name the columns {pairs}, or messages"
        )
    return Record(place, turns=turns, dropped=None if turns else "without an answer")


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
