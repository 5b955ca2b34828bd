"""The DuckDB file: every finished shard, open to SQL. The largest table is a view over its shards.

One process may write and then nobody else may even read, so the file is held for moments only and everything that
opens it waits its turn. It is made from the artifacts: delete it, and the next run fills it again. A damaged one is set
aside by whoever meets it, and filled again at once.
"""

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

from storage.artifact import Artifact
from storage.catalog import LOADED, THERE, columns_of, create, show, show_to_reader, values_of
from storage.errors import BadInput, DamagedTables, WorkspaceBusy
from storage.locks import held
from storage.schemas import TABLES
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
        with lent(_connect(workspace.database, write, patience)) as tables:
            (create if write else show_to_reader)(tables, workspace)
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
        show(connection, table, shard.parent.parent)
    connection.begin()
    if not TABLES[table].in_place:
        connection.register("shard_rows", read_shard(shard))
        insert = f"INSERT INTO {table} BY POSITION SELECT ?, {columns_of(table)} FROM shard_rows"
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
    known = values_of(connection, "SELECT shard FROM loads WHERE artifact = ?", artifact.fingerprint)
    if new := sorted(name for name in record["files"] if is_shard(name) and name not in known):
        folder = workspace.path(artifact, new)
        for name in new:
            load(connection, artifact, folder / name)


def prune(connection: Any, workspace: Workspace) -> None:
    """Delete the rows of artifacts that are neither finished nor being made. What happened (`events`) stays."""
    there = {artifact.fingerprint for artifact in [*workspace.all(), *workspace.partials()]}
    known = values_of(connection, "SELECT artifact FROM loads UNION SELECT fingerprint FROM artifacts")
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
            create(tables, workspace)
            sync(tables, workspace)


def _is_whole(database: Path, patience: float) -> bool:
    """Whether every row can be read: another process may have put it right meanwhile."""
    try:
        with lent(_connect(database, False, patience)) as tables:
            for table in values_of(tables, THERE):
                tables.execute(f'EXPLAIN ANALYZE SELECT * FROM "{table}"').fetchall()
    except duckdb.Error as error:
        return not database.exists() or not _is_damage(error)
    return True


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
