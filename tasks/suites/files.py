"""A suite's files as they are published: a table is a configuration and a split, in a folder fetched from the hub.

A table lies in `config/split*.parquet`, `config/split.json`, `config.json`, `config-split.jsonl` or the like. JSON is a
list of objects, or an object a line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import BadInput
from storage.files import Files, Hashes, listed
from tasks.texts.tables import json_rows, parquet_rows

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
    inside = [path for path in listed(folder, "**") if path.suffix in KINDS]
    files = {path: path.relative_to(folder).with_suffix("").as_posix() for path in inside}
    there = {}
    for name, table in tables.items():
        paths = [path for path, stem in files.items() if SHARD.sub("", stem) in table.names]
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


def read_rows(files: Files, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, with these columns. BadInput for what cannot be read so."""
    rows: list[Row] = []
    for path in map(Path, files.paths):
        for _, where, row in parquet_rows(path) if path.suffix == ".parquet" else json_rows(path):
            if not isinstance(row, dict):
                raise BadInput(f"{where}: expected a JSON object, found {type(row).__name__}")
            if missing := [column for column in columns if row.get(column) is None]:
                raise BadInput(
                    f"{where}: expected the columns {', '.join(columns)}, found no {missing[0]} among {sorted(row)}"
                )
            rows.append({column: row[column] for column in columns})
    if not rows:
        raise BadInput(f"{', '.join(files.paths)}: expected rows, found none")
    return rows
