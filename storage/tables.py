"""The DuckDB file: every finished shard, open to SQL. The largest table is a view over its shards.

One process may write and then nobody else may even read, so the file is held for moments only and everything that
opens it waits its turn. It is made from the artifacts: delete it, and the next run fills it again. A damaged one is set
aside by whoever meets it, and filled again at once.
"""

import glob
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from storage.artifact import Artifact
from storage.errors import BadInput, DamagedTables, WorkspaceBusy
from storage.locks import held
from storage.schemas import MADE_BY, SQL_TABLES, TABLES, VIEWS
from storage.shards import is_shard, read_shard, table_of
from storage.workspace import Workspace

PATIENCE_SECONDS = 60.0
DAMAGE = (
    "not a valid DuckDB database",
    "Could not read enough bytes",
    "Corrupt",
    "Serialization Error",
    "INTERNAL Error",
)
THERE = "SELECT table_name FROM duckdb_tables()"
LOADED, SHOWN = ([name for name, table in TABLES.items() if table.in_place == in_place] for in_place in (False, True))
IN_PLACE = "read_parquet"
ROWS = """
SELECT regexp_extract(filename, '-([0-9a-f]{{16}})[^/]*/[^/]+$', 1) AS artifact, {}
FROM read_parquet('{}', filename = true, hive_partitioning = false)
"""
T = TypeVar("T")


@contextmanager
def open_tables(workspace: Workspace, *, write: bool, patience: float = PATIENCE_SECONDS) -> Iterator[Any]:
    """A connection to the tables. Raises WorkspaceBusy with the holder if nobody lets go within `patience` seconds.

    Raises DamagedTables on opening or when damage is met later: `in_tables` mends it.
    """
    if not write and not workspace.database.exists():
        raise BadInput(f"expected tables at {workspace.database}, found none: run a job with this --root first")
    if write:
        workspace.root.mkdir(parents=True, exist_ok=True)
    try:
        if not write and _moved(workspace, patience):
            with open_tables(workspace, write=True, patience=patience):
                pass
        with lent(_connect(workspace.database, write, patience)) as tables:
            if write:
                _create(tables, workspace)
            yield tables
    except duckdb.Error as error:
        if not _is_damage(error):
            raise
        sentence = f"expected whole tables in {workspace.database}, found: {error}; run it again"
        raise DamagedTables(sentence) from error


class Lent:
    """A connection for as long as it is open: whoever keeps this keeps nothing of DuckDB."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


@contextmanager
def lent(connection: Any) -> Iterator[Any]:
    """A connection, closed in the end, and let go by an error that passes: its frames would keep it.

    What is left of DuckDB when Python ends makes it complain on standard error, and Prefect keeps a run's errors.
    """
    tables = Lent(connection)
    del connection
    try:
        yield tables
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        tables.connection.close()
        tables.connection = None


def in_tables(workspace: Workspace, act: Callable[[Any], T], *, write: bool, patience: float = PATIENCE_SECONDS) -> T:
    """What `act` makes of a connection to the tables. Where they turn out to be damaged, it acts on new ones."""
    try:
        with open_tables(workspace, write=write, patience=patience) as tables:
            return act(tables)
    except DamagedTables:
        _fill_again(workspace, patience)
        with open_tables(workspace, write=write, patience=patience) as tables:
            return act(tables)


def load(connection: Any, artifact: Artifact, shard: Path) -> None:
    """Load one shard in one transaction, exactly once. Its table is its name up to the first dash or dot."""
    known = "SELECT 1 FROM loads WHERE artifact = ? AND shard = ?"
    if connection.execute(known, [artifact.fingerprint, shard.name]).fetchone():
        return
    table = table_of(shard)
    if TABLES[table].in_place:
        _view(connection, table, shard.parent.parent)
    connection.begin()
    if not TABLES[table].in_place:
        connection.register("shard_rows", read_shard(shard))
        insert = f"INSERT INTO {table} BY POSITION SELECT ?, {_columns(table)} FROM shard_rows"
        connection.execute(insert, [artifact.fingerprint])
    connection.execute("INSERT INTO loads VALUES (?, ?, ?)", [artifact.fingerprint, shard.name, datetime.now(UTC)])
    connection.commit()
    connection.unregister("shard_rows")


def refresh(workspace: Workspace) -> None:
    in_tables(workspace, lambda tables: sync(tables, workspace), write=True)


def sync(connection: Any, workspace: Workspace) -> None:
    """Bring the tables up to date with every finished artifact."""
    for artifact, _ in workspace.records():
        enter(connection, workspace, artifact)


def enter(connection: Any, workspace: Workspace, artifact: Artifact) -> None:
    """A finished artifact's row of `artifacts`, and its shards where they are not loaded yet."""
    record = workspace.record(artifact)
    connection.execute(
        "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            artifact.kind,
            artifact.name,
            artifact.fingerprint,
            f"{workspace.address}/{artifact.folder}",
            record["made"]["at"],
            record["made"]["by"],
            record["seconds"],
            json.dumps(record["inputs"]),
            json.dumps(record["counts"]),
        ],
    )
    known = _column(connection, "SELECT shard FROM loads WHERE artifact = ?", artifact.fingerprint)
    if new := sorted(name for name in record["files"] if is_shard(name) and name not in known):
        folder = workspace.path(artifact, new)
        for name in new:
            load(connection, artifact, folder / name)


def prune(connection: Any, workspace: Workspace) -> None:
    """Delete the rows of artifacts that are neither finished nor being made. What happened (`events`) stays."""
    there = {artifact.fingerprint for artifact in [*workspace.all(), *workspace.partials()]}
    known = _column(connection, "SELECT artifact FROM loads UNION SELECT fingerprint FROM artifacts")
    forget(connection, sorted(known - there))


def forget(connection: Any, fingerprints: list[str]) -> None:
    """Delete the rows of these artifacts, in one transaction. What is there is loaded again by `sync`."""
    if not fingerprints:
        return
    connection.begin()
    for table in [*LOADED, "loads"]:
        connection.execute(f"DELETE FROM {table} WHERE list_contains(?, artifact)", [fingerprints])
    connection.execute("DELETE FROM artifacts WHERE list_contains(?, fingerprint)", [fingerprints])
    connection.commit()
    connection.execute("CHECKPOINT")  # gives the room back


def _fill_again(workspace: Workspace, patience: float) -> None:
    """Set damaged tables aside and load those of every finished artifact into new ones. One process does it."""
    database, aside = workspace.database, workspace.damaged_database
    with held(database.with_name(f".{database.name}.lock"), patience, lambda: f"{database} is being filled again"):
        if not _is_whole(database, patience):
            for ending in ("", ".wal"):
                with suppress(FileNotFoundError):
                    database.with_name(f"{database.name}{ending}").replace(f"{aside}{ending}")
            words = f"nepenthe: {database} was damaged: it is {aside.name} now, and filled again from the artifacts"
            print(words, file=sys.stderr)
        with lent(_connect(database, True, patience)) as tables:
            _create(tables, workspace)
            sync(tables, workspace)


def _is_whole(database: Path, patience: float) -> bool:
    """Whether every row can be read: another process may have put it right meanwhile."""
    try:
        with lent(_connect(database, False, patience)) as tables:
            for table in _column(tables, THERE):
                tables.execute(f'EXPLAIN ANALYZE SELECT * FROM "{table}"').fetchall()
    except duckdb.Error as error:
        return not database.exists() or not _is_damage(error)
    return True


def _column(connection: Any, query: str, *values: str) -> set[str]:
    return {value for (value,) in connection.execute(query, values).fetchall()}


def _is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB says so of the file's bytes, and not of a lock, the disk or a query."""
    return any(words in str(error) for words in DAMAGE)


def _connect(database: Path, write: bool, patience: float) -> Any:
    deadline = time.monotonic() + patience
    while True:
        try:
            return duckdb.connect(str(database), read_only=not write)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            if time.monotonic() >= deadline:
                said = str(error).partition("held in ")[2].partition(")")[0]
                holder = f"{said})" if said else "another process"
                raise WorkspaceBusy(f"{database} is held by {holder}; close it there and run again") from error
        time.sleep(0.05)


def _create(connection: Any, workspace: Workspace) -> None:
    """Tables, comments, views and macro. Cheap where they exist."""
    for name in SHOWN:
        _view(connection, name, workspace.root / name)
    if {*LOADED, *SQL_TABLES} <= _column(connection, THERE):
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


def _view(connection: Any, name: str, artifacts: Path) -> None:
    """Make the table a view over its shards in all artifacts of a folder; where there are none, over no rows.

    Once there are some, those that come later are in it at once, and those that go are not.
    """
    shards = _shards(name, artifacts)
    there, known = any(glob.iglob(shards)), _query_of(connection, name)
    if known and (_quoted(shards) in known if there else IN_PLACE not in known):
        return
    if name in _column(connection, THERE):
        connection.execute(f"DROP TABLE {name}")  # an earlier nepenthe copied the rows
    try:
        query = ROWS.format(_columns(name), _quoted(shards)) if there else _no_rows(connection, name)
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
    except duckdb.Error:  # a damaged shard, which `verify` tells of, is no reason to stop
        connection.execute(f"CREATE OR REPLACE VIEW {name} AS {_no_rows(connection, name)}")
    _comment(connection, name)


def _moved(workspace: Workspace, patience: float) -> bool:
    """Whether views are of the folder in which the workspace lay before it was moved, or copied here."""
    with lent(_connect(workspace.database, False, patience)) as tables:
        views = {name: _query_of(tables, name) for name in SHOWN}
        places = {name: _quoted(_shards(name, workspace.root / name)) for name in SHOWN}
        return any(IN_PLACE in view and places[name] not in view for name, view in views.items())


def _shards(name: str, artifacts: Path) -> str:
    """Where a table's shards lie, as a pattern."""
    return f"{glob.escape(str(artifacts))}/*/{name}-*.parquet"


def _query_of(connection: Any, name: str) -> str:
    """What a view selects; nothing where there is none."""
    (query,) = _column(connection, "SELECT sql FROM duckdb_views() WHERE view_name = ?", name) or {""}
    return query


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _no_rows(connection: Any, name: str) -> str:
    """A query for nothing, in the table's types."""
    connection.register("empty", _empty(name))
    columns = connection.execute("DESCRIBE empty").fetchall()
    connection.unregister("empty")
    nulls = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind, *_ in columns)
    return f"SELECT {nulls} WHERE false"


def _empty(name: str) -> pa.Table:
    return TABLES[name].schema.insert(0, pa.field("artifact", pa.string())).empty_table()


def _columns(name: str) -> str:
    return ", ".join(f'"{column}"' for column in TABLES[name].columns)


def _comment(connection: Any, name: str) -> None:
    table = (SQL_TABLES | TABLES)[name]
    meanings = {f"{'VIEW' if table.in_place else 'TABLE'} {name}": table.comment}
    if name in TABLES:
        meanings[f"COLUMN {name}.artifact"] = MADE_BY
    meanings |= {f'COLUMN {name}."{column}"': meaning for column, (_, meaning) in table.columns.items()}
    for commented, meaning in meanings.items():
        connection.execute(f"COMMENT ON {commented} IS '{_quoted(meaning)}'")
