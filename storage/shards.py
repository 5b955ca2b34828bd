"""Shards: files of an artifact that hold rows of one table, which is the beginning of their name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.files import listed, whole_file
from storage.schemas import TABLES

SUFFIXES = (".arrow", ".parquet")
ROWS_PER_BATCH = 256


def is_shard(name: str) -> bool:
    """Whether a file of an artifact, by its name below the artifact's folder, holds rows of a table."""
    return "/" not in name and Path(name).suffix in SUFFIXES and table_of(Path(name)) in TABLES


def shards_of(folder: Path) -> list[Path]:
    """The shard files of an artifact (finished or partial), in order."""
    return [path for path in listed(folder, "*") if is_shard(path.name)]


def table_of(shard: Path) -> str:
    """The table that a shard belongs to: `logits-00003.parquet` -> `logits`."""
    return shard.name.split(".")[0].split("-")[0]


def read_shard(shard: Path, columns: list[str] | None = None) -> pa.Table:
    """A shard's rows, of some columns or all; Arrow files are memory-mapped."""
    if shard.suffix == ".parquet":
        return pq.ParquetFile(shard).read(columns)  # read_table imports pandas, which takes most of a second
    with pa.memory_map(str(shard)) as source:
        table = pa.ipc.open_file(source).read_all()
    return table.select(columns) if columns else table


def write_shard(path: Path, rows: list[dict[str, Any]] | pa.Table) -> None:
    """Write a shard under a temporary name, then rename it: one that has its name is whole, after a power loss too."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, TABLES[table_of(path)].schema)
    if path.suffix == ".parquet":
        with whole_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    else:
        with _arrow_file(path, table.schema) as writer:
            writer.write_table(table)


def join_shards(path: Path, parts: list[Path], number: str) -> None:
    """Write one Arrow file of the rows of several, a batch at a time, numbered through in a column."""
    schema, rows = TABLES[table_of(path)].schema, 0
    column = schema.get_field_index(number)
    with _arrow_file(path, schema) as writer:
        for part in parts:
            for batch in read_shard(part).to_batches():
                numbers = pa.array(range(rows, rows + len(batch)), schema.field(number).type)
                writer.write_batch(batch.set_column(column, schema.field(number), numbers))
                rows += len(batch)


@contextmanager
def shard_writer(path: Path, schema: pa.Schema | None = None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write an Arrow file row by row in bounded memory. It gets its name when the block ends without an error."""
    schema = schema or TABLES[table_of(path)].schema
    rows: list[dict[str, Any]] = []

    def flush() -> None:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))
        rows.clear()

    def write(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) >= ROWS_PER_BATCH:
            flush()

    with _arrow_file(path, schema) as writer:
        yield write
        flush()


@contextmanager
def _arrow_file(path: Path, schema: pa.Schema) -> Iterator[Any]:
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        yield writer
