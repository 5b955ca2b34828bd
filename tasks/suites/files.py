"""A suite's files as they are published: a table is a configuration and a split, in a folder fetched from the hub.

A table lies in `config/split*.parquet`, `config/split.json`, `config.json`, `config-split.jsonl` or the like. JSON is a
list of objects, or an object a line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.errors import BadInput
from storage.files import Files, Hashes, listed
from tasks.contents import Row
from tasks.hub import dataset_folder, is_hub_name
from tasks.texts.tables import json_rows, parquet_rows

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


def find_tables(data: str, tables: Mapping[str, Table], hashes: Hashes) -> dict[str, Files]:
    """The suite's tables in a folder, or in a data set on the hub, by name.

    Raises BadInput for one that is needed and missing, or lacks a column.
    """
    folder, source = (Path(data), "") if Path(data).is_dir() else _on_hub(data, tables)
    inside = [path for path in listed(folder, "**") if path.suffix in KINDS]
    files = {path: path.relative_to(folder).with_suffix("").as_posix() for path in inside}
    there = {}
    for name, table in tables.items():
        paths = [path for path, stem in files.items() if SHARD.sub("", stem) in table.names]
        if paths:
            there[name] = replace(hashes.files(paths), source=source)
            read_rows(there[name], table.columns)
        elif table.needed:
            raise BadInput(
                f"--data: expected {table.config}, split {table.split}, as Parquet or JSON in {folder} "
                f"(as in {sorted(table.names)[-1]}.parquet), found {len(files)} files of that kind and none so named: "
                "fetch the suite's data set from the hub into that folder"
            )
    return there


def _on_hub(name: str, tables: Mapping[str, Table]) -> tuple[Path, str]:
    if not is_hub_name(name):
        raise BadInput(
            "--data: expected a folder with the suite's data set, or its name on the hub (owner/name[@revision]), "
            f"found nothing at {name}"
        )
    return dataset_folder(name, "--data", sorted({f"{file}*" for table in tables.values() for file in table.names}))


def names_in_job(files: Files) -> list[str]:
    """How a job names them: on the hub where they come from there, which holds on any machine; else by their paths."""
    commit = files.source.partition("@")[2]
    if not commit:
        return [str(Path(path).absolute()) for path in files.paths]
    return [f"{files.source}:{path.partition(f'/{commit}/')[2]}" for path in files.paths]


def read_rows(files: Files, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, with these columns. BadInput for what cannot be read so."""
    rows: list[Row] = []
    for path in map(Path, files.paths):
        for _, where, row in parquet_rows(path) if path.suffix == ".parquet" else json_rows(path):
            if not isinstance(row, dict):
                raise BadInput(f"{where}: expected a JSON object, found {type(row).__name__}")
            if missing := [column for column in columns if _empty(row.get(column))]:
                raise BadInput(
                    f"{where}: expected the columns {', '.join(columns)}, found no {missing[0]}, or an empty one, "
                    f"among {sorted(row)}"
                )
            rows.append({column: row[column] for column in columns})
    if not rows:
        raise BadInput(f"{', '.join(files.paths)}: expected rows, found none")
    return rows


def _empty(value: object) -> bool:
    """Whether there is no text, or no text in a list of them: nothing that a model could be asked for."""
    return value in (None, "", []) or (isinstance(value, list) and any(map(_empty, value)))
