"""The catalog of the DuckDB file: a table for every kind of shard, or a view of where the shards lie, with comments.

Shards of a table that is shown (`Table.in_place`) are Parquet, and stay the only copy of their rows.
"""

import glob
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage.schemas import MADE_BY, SQL_TABLES, TABLES, VIEWS
from storage.workspace import Workspace

THERE = "SELECT table_name FROM duckdb_tables()"
LOADED, SHOWN = ([name for name, table in TABLES.items() if table.in_place == in_place] for in_place in (False, True))
IN_PLACE = "read_parquet"
ROWS = """
SELECT regexp_extract(filename, '-([0-9a-f]{{16}})[^/]*/[^/]+$', 1) AS artifact, {}
FROM read_parquet('{}', filename = true, hive_partitioning = false)
"""


def create(connection: Any, workspace: Workspace) -> None:
    """Tables, comments, views and macro. Cheap where they exist."""
    for name in SHOWN:
        show(connection, name, workspace.root / name)
    if {*LOADED, *SQL_TABLES} <= values_of(connection, THERE):
        return
    for name, table in SQL_TABLES.items():
        typed = ", ".join(f"{column} {kind}" for column, (kind, _) in table.columns.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({typed})")
    for name in LOADED:
        connection.register("empty", _empty(name))
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} AS FROM empty")
        connection.unregister("empty")
    for name in [*SQL_TABLES, *LOADED]:
        _comment(connection, name)
    for view in VIEWS:
        connection.execute(view)


def show(connection: Any, name: str, artifacts: Path) -> None:
    """Make the table a view over its shards in all artifacts of a folder; where there are none, over no rows.

    Once there are some, those that come later are in it at once, and those that go are not.
    """
    shards = _shards(name, artifacts)
    if _is_of(connection, name, shards):
        return
    if name in values_of(connection, THERE):
        connection.execute(f"DROP TABLE {name}")  # an earlier nepenthe copied the rows
    _create_view(connection, name, shards)
    _comment(connection, name)


def show_to_reader(connection: Any, workspace: Workspace) -> None:
    """The same for a connection that writes nothing: where the workspace was moved or copied, views of its own."""
    for name in SHOWN:
        if not _is_of(connection, name, shards := _shards(name, workspace.root / name)):
            _create_view(connection, name, shards, "TEMP")


def _is_of(connection: Any, name: str, shards: str) -> bool:
    """Whether the view is of these shards; of no rows, where there are none."""
    query = _query_of(connection, name)
    return bool(query) and (_quoted(shards) in query if any(glob.iglob(shards)) else IN_PLACE not in query)


def _create_view(connection: Any, name: str, shards: str, kind: str = "") -> None:
    create = f"CREATE OR REPLACE {kind} VIEW {name} AS"
    if not any(glob.iglob(shards)):
        connection.execute(f"{create} {_no_rows(connection, name)}")
        return
    try:
        connection.execute(f"{create} {ROWS.format(columns_of(name), _quoted(shards))}")
    except duckdb.Error as error:  # a damaged shard stops no run: whoever asks for its rows is told, at each query
        reason = _quoted(str(error).partition(": ")[2].partition("\n")[0])
        raised = f"error('{name}-*.parquet: {reason}')"
        connection.execute(f"{create} {_no_rows(connection, name, raised)}")


def _shards(name: str, artifacts: Path) -> str:
    """Where a table's shards lie, as a pattern."""
    return f"{glob.escape(str(artifacts))}/*/{name}-*.parquet"


def _query_of(connection: Any, name: str) -> str:
    """What a view selects; nothing where there is none."""
    (query,) = values_of(connection, "SELECT sql FROM duckdb_views() WHERE view_name = ?", name) or {""}
    return query


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _no_rows(connection: Any, name: str, error: str = "") -> str:
    """A query for nothing, in the table's types; or for an error, in every place where DuckDB could leave it out."""
    connection.register("empty", _empty(name))
    columns = connection.execute("DESCRIBE empty").fetchall()
    connection.unregister("empty")
    values = ", ".join(f'{error or "NULL"}::{kind} AS "{column}"' for column, kind, *_ in columns)
    return f"SELECT {values} WHERE {error or 'false'}"


def _empty(name: str) -> pa.Table:
    return TABLES[name].schema.insert(0, pa.field("artifact", pa.string())).empty_table()


def columns_of(name: str) -> str:
    """The columns of a table's shards, for a query."""
    return ", ".join(f'"{column}"' for column in TABLES[name].columns)


def _comment(connection: Any, name: str) -> None:
    table = (SQL_TABLES | TABLES)[name]
    meanings = {f"{'VIEW' if table.in_place else 'TABLE'} {name}": table.comment}
    if name in TABLES:
        meanings[f"COLUMN {name}.artifact"] = MADE_BY
    meanings |= {f'COLUMN {name}."{column}"': meaning for column, (_, meaning) in table.columns.items()}
    for commented, meaning in meanings.items():
        connection.execute(f"COMMENT ON {commented} IS '{_quoted(meaning)}'")


def values_of(connection: Any, query: str, *values: str) -> set[str]:
    """The values of a query's only column."""
    return {value for (value,) in connection.execute(query, values).fetchall()}
