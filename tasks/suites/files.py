"""A suite's files as they are published: a table is a configuration and a split, in a folder fetched from the hub.

A table lies in `config/split*.parquet`, `config/split.json`, `config.json`, `config-split.jsonl` or the like. JSON is a
list of objects, or an object a line.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import BadInput
from storage.files import Files, Hashes, listed
from tasks.texts.plain import read_utf8

Row = dict[str, Any]
KINDS = (".parquet", ".json", ".jsonl")
SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a suite reads, and the columns of it."""

    config: str
    split: str
    columns: tuple[str, ...]
    needed: bool = False
    """Whether the suite means nothing without it; the measures of other missing tables are left out."""

    @property
    def names(self) -> set[str]:
        """What its file may be called, below the folder and without an ending."""
        joined = {f"{self.config}{mark}{self.split}" for mark in "/-_"}
        return {self.config, f"{self.config}/{self.config}", f"data/{self.config}", *joined}


def find_tables(folder: Path, tables: Mapping[str, Table], hashes: Hashes) -> dict[str, Files]:
    """The suite's tables in the folder, by name. BadInput for one that is needed and missing, or lacks a column."""
    files = [path for path in listed(folder, "**") if path.suffix in KINDS]
    there = {}
    for name, table in tables.items():
        paths = [path for path in files if SHARD.sub("", _stem(path, folder)) in table.names]
        if paths:
            there[name] = hashes.files(paths)
            read_rows(there[name], table.columns)
        elif table.needed:
            raise BadInput(
                f"--data: expected {table.config}, split {table.split}, as Parquet or JSON in {folder} "
                f"(as in {sorted(table.names)[-1]}.parquet), found {len(files)} files of that kind and none so named: "
                "fetch the suite's data set from the hub into that folder"
            )
    return there


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def read_rows(files: Files, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, with these columns. BadInput for what cannot be read so."""
    rows: list[Row] = []
    for path in map(Path, files.paths):
        for row in _parquet(path) if path.suffix == ".parquet" else _json(path):
            if missing := [column for column in columns if row.get(column) is None]:
                raise BadInput(
                    f"{path}, row {len(rows)}: expected the columns {', '.join(columns)}, found no {missing[0]} "
                    f"among {sorted(row)}"
                )
            rows.append({column: row[column] for column in columns})
    if not rows:
        raise BadInput(f"{', '.join(files.paths)}: expected rows, found none")
    return rows


def _parquet(path: Path) -> Iterable[Row]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: expected a Parquet file, found {error}") from error
    return (row for batch in file.iter_batches() for row in batch.to_pylist())


def _json(path: Path) -> Iterable[Row]:
    text = read_utf8(path).strip()
    try:
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n") if line]
    except ValueError as error:
        raise BadInput(f"{path}: expected a list of JSON objects, or one a line, found {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path}: expected JSON objects, found something else")
    return list(rows)
