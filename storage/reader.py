"""Reading finished artifacts: DuckDB in memory over their shard files.

Not the workspace's tables.duckdb: a page is made from the artifacts that it names, and the file of tables may be gone
or held by another process. Memory is bounded here, so whatever is read must be aggregated in SQL.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from storage.tables import lent

MEMORY = "1GB"

Row = dict[str, Any]


@contextmanager
def reader() -> Iterator[Any]:
    """A connection without a file, in bounded memory."""
    with lent(duckdb.connect()) as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute("SET temp_directory = ''")  # otherwise DuckDB spills into the working directory
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def rows(connection: Any, query: str, values: Sequence[Any] | Row = ()) -> list[Row]:
    """The answer, a dictionary a row. `values` by place, or by name."""
    result = connection.execute(query, values if isinstance(values, dict) else list(values))
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def spread(shards: Sequence[Path], limit: int) -> list[str]:
    """So many shards that they hold about `limit` rows (at least one), spread evenly over all of them."""
    sizes = [pq.read_metadata(shard).num_rows for shard in shards]
    total = sum(sizes)
    if total <= limit:
        return [str(shard) for shard in shards]
    wanted = max(1, limit * len(shards) // total)
    return [str(shards[place * len(shards) // wanted]) for place in range(wanted)]
