"""The tables: every shard exactly once, labels by look-up, one writer, readers in turn."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.show import COLUMNS, run_query
from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact, WorkspaceBusy
from storage.schemas import TABLES
from storage.shards import shard_writer, shards_of, table_of, write_shard
from storage.tables import load, open_tables, prune, sync
from storage.workspace import Workspace

LOGITS = Artifact("logits", "x", "a" * 16)
SMALLEST = 1.401298464324817e-45


def curve(block: int, position: int, *pieces: tuple[int, float, float]) -> list[dict[str, Any]]:
    return [
        {
            "block_id": block,
            "position": position,
            "vertex": vertex,
            "token": token,
            "alpha_from": start,
            "alpha_to": end,
        }
        for vertex, (token, start, end) in enumerate(pieces)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one logits artifact of one block: two labelled positions, one with a reason."""
    made = Workspace(tmp_path)
    partial = made.partial(LOGITS)
    partial.mkdir(parents=True)
    infinity = float("inf")
    rows = curve(0, 0, (7, 0.0, 2.5), (9, 2.5, infinity)) + curve(0, 1, (3, 0.0, SMALLEST), (5, SMALLEST, infinity))
    write_shard(partial / "label_curves-00000000-00000001.parquet", rows)
    logits = [{"block_id": 0, "position": p, "reason": "end of block" if p == 2 else None} for p in range(3)]
    empty = dict.fromkeys(TABLES["logits"].columns)
    write_shard(partial / "logits-00000000-00000001.parquet", [empty | row for row in logits])
    made.commit(LOGITS, {"version": 1, "inputs": {}, "counts": {}, "seconds": 1.0, "holds_protected_text": True})
    return made


def test_labels_are_looked_up_at_any_alpha_and_every_position_has_a_label_or_a_reason(workspace: Workspace) -> None:
    with open_tables(workspace, write=True) as tables:
        sync(tables, workspace)

        def labels(alpha: float) -> list[tuple[Any, ...]]:
            query = "SELECT position, label, reason FROM labels(?) ORDER BY position"
            return tables.execute(query.replace("?", str(alpha))).fetchall()

        end = (2, None, "end of block")
        assert labels(0) == [(0, 7, None), (1, 3, None), end]
        assert labels(2.5) == [(0, 9, None), (1, 5, None), end]
        assert labels(2.4999) == [(0, 7, None), (1, 5, None), end]
        with pytest.raises(Exception, match="expected alpha >= 0"):
            labels(-1)


def test_a_shard_is_loaded_exactly_once_and_a_lost_database_is_filled_again(workspace: Workspace) -> None:
    count = "SELECT count(*) FROM label_curves"
    for _ in range(2):
        with open_tables(workspace, write=True) as tables:
            sync(tables, workspace)
            sync(tables, workspace)
            assert tables.execute(count).fetchone() == (4,)
    workspace.database.unlink()
    with open_tables(workspace, write=True) as tables:
        sync(tables, workspace)
        assert tables.execute(count).fetchone() == (4,)


def candidates(workspace: Workspace) -> list[tuple[Any, ...]]:
    """What a reader finds."""
    with open_tables(workspace, write=False) as tables:
        query = "SELECT artifact, position, ids FROM logits ORDER BY ALL"
        return list(tables.execute(query).fetchall())


THREE = [(LOGITS.fingerprint, position, None) for position in range(3)]


@pytest.mark.parametrize("folder", ["plain", "a[b] *'c x=1"])
def test_candidates_stay_in_their_shards_and_are_what_lies_there_now(workspace: Workspace, folder: str) -> None:
    there = Workspace(shutil.copytree(workspace.root, workspace.root / folder))
    with open_tables(there, write=True) as tables:
        sync(tables, there)
        assert "logits" not in {name for (name,) in tables.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert candidates(there) == THREE
    other = Artifact("logits", "y", "c" * 16)
    shutil.copytree(there.path(LOGITS), there.partial(other))
    (there.partial(other) / "record.json").unlink()
    assert candidates(there) == [*THREE, *((other.fingerprint, position, None) for position in range(3))]
    there.discard(other)
    assert candidates(there) == THREE
    there.remove(LOGITS)
    with open_tables(there, write=True) as tables:
        prune(tables, there)
    assert candidates(there) == []


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_candidates_of_a_workspace_that_was_moved_are_those_that_lie_there(
    workspace: Workspace, way: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    lay = Workspace(shutil.copytree(workspace.root, tmp_path / "lay"))
    with open_tables(lay, write=True) as tables:
        sync(tables, lay)
    way(lay.root, tmp_path / "lies")
    shutil.rmtree(lay.root, ignore_errors=True)
    assert candidates(Workspace(tmp_path / "lies")) == THREE


def test_a_moved_workspace_with_a_torn_shard_says_so_and_has_its_rows_when_that_is_whole(
    workspace: Workspace, tmp_path: Path
) -> None:
    with open_tables(workspace, write=True) as tables:
        sync(tables, workspace)
    copied = Workspace(shutil.copytree(workspace.root, tmp_path / "copied"))
    torn = copied.path(LOGITS) / "logits-00000000-00000001.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:100])
    for _ in range(2):
        with pytest.raises(
            DamagedArtifact, match=r"expected whole shards.*logits-\*\.parquet.*`nepenthe verify --repair`"
        ):
            run_query(copied, "SELECT count(*) FROM logits")
        with pytest.raises(DamagedArtifact, match="expected whole shards"):
            run_query(copied, "SELECT count(*) FROM labels(1.0)")
        assert run_query(copied, "SELECT count(*) FROM label_curves")[1] == [(4,)]
        with open_tables(copied, write=True) as tables:  # a run goes on
            sync(tables, copied)
    torn.write_bytes(whole)
    assert candidates(copied) == THREE


def test_a_copy_that_nobody_may_write_to_is_read(workspace: Workspace, tmp_path: Path) -> None:
    with open_tables(workspace, write=True) as tables:
        sync(tables, workspace)
    copied = Workspace(shutil.copytree(workspace.root, tmp_path / "copied"))
    shutil.rmtree(workspace.root / "logits")
    before = copied.database.read_bytes()
    described = run_query(workspace, COLUMNS)
    assert candidates(copied) == THREE
    assert run_query(copied, "SELECT count(*) FROM labels(1.0)")[1] == [(3,)]
    assert run_query(copied, COLUMNS) == described
    assert copied.database.read_bytes() == before, "the reader wrote"


def test_a_torn_shard_of_candidates_stops_nobody(workspace: Workspace) -> None:
    torn = workspace.path(LOGITS) / "logits-00000000-00000001.parquet"
    whole = torn.read_bytes()
    for kept in (4, len(whole) - 20):
        torn.write_bytes(whole[:kept])
        workspace.database.unlink(missing_ok=True)
        with open_tables(workspace, write=True) as tables:
            sync(tables, workspace)
            assert tables.execute("SELECT count(*) FROM label_curves").fetchone() == (4,)
    torn.write_bytes(whole)
    with open_tables(workspace, write=True):
        pass
    assert candidates(workspace) == THREE


def test_candidates_that_an_earlier_version_copied_are_taken_out(workspace: Workspace) -> None:
    with open_tables(workspace, write=True) as tables:
        sync(tables, workspace)
        tables.execute("CREATE TABLE copied AS FROM logits")
        tables.execute("DROP VIEW logits")
        tables.execute("ALTER TABLE copied RENAME TO logits")
        tables.execute("INSERT INTO logits FROM logits")
    with open_tables(workspace, write=True):
        pass
    assert candidates(workspace) == THREE
    with open_tables(workspace, write=False) as tables:
        assert tables.execute("SELECT count(*) FROM labels(1.0)").fetchone() == (3,)


def test_a_load_that_fails_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    shard = workspace.path(LOGITS) / "label_curves-00000000-00000001.parquet"
    broken = tmp_path / "label_curves-00000001-00000002.parquet"
    broken.write_bytes(shard.read_bytes()[:-20])
    with open_tables(workspace, write=True) as tables:
        with pytest.raises(Exception, match=r"(?i)parquet"):
            load(tables, LOGITS, broken)
        assert tables.execute("SELECT count(*) FROM label_curves").fetchone() == (0,)
        assert tables.execute("SELECT count(*) FROM loads").fetchone() == (0,)


def test_every_table_and_column_says_what_it_holds(workspace: Workspace) -> None:
    with open_tables(workspace, write=True) as tables:
        silent = tables.execute(
            "SELECT table_name, column_name FROM duckdb_columns() "
            "WHERE NOT internal AND comment IS NULL AND table_name NOT IN ('labels')"
        ).fetchall()
        assert silent == []
        names = {name for (name,) in tables.execute("SHOW TABLES").fetchall()}
    assert {*TABLES, "artifacts", "events"} <= names


def test_a_reader_without_a_workspace_is_told_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="run a job"), open_tables(Workspace(tmp_path / "none"), write=False):
        pass


def test_a_database_held_by_another_process_is_reported_with_its_holder(workspace: Workspace) -> None:
    with open_tables(workspace, write=True):
        pass
    hold = f"import duckdb, sys; c = duckdb.connect({str(workspace.database)!r})"
    code = f"{hold}; print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(WorkspaceBusy, match=f"PID {holder.pid}"),
            open_tables(workspace, write=True, patience=0.1),
        ):
            pass
        holder.communicate()


def test_a_writer_that_fails_leaves_no_shard(tmp_path: Path) -> None:
    def fail() -> None:
        with shard_writer(tmp_path / "blocks.arrow") as write:
            write(dict.fromkeys(TABLES["blocks"].columns))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert shards_of(tmp_path) == []


def test_shards_are_known_by_name() -> None:
    assert table_of(Path("label_curves-00000000-00000064.parquet")) == "label_curves"
    assert table_of(Path("blocks.arrow")) == "blocks"


def test_what_a_shard_cost_is_loaded_beside_it_on_a_cpu_too(workspace: Workspace) -> None:
    artifact = Artifact("logits", "x", "b" * 16)
    partial = workspace.resume(artifact)
    row = {"stage": "logits", "shard": "logits-00000000-00000001", "tokens": 512, "seconds": 0.5, "batch": 8}
    cost = {"tokens_per_second": 1024.0, "gpu_memory_bytes": None, "host": "node1", "device": "cpu"}
    write_shard(partial / "metrics-logits-00000000-00000001.parquet", [row | cost])
    with open_tables(workspace, write=True) as tables:
        load(tables, artifact, shards_of(partial)[0])
        query = "SELECT shard, tokens, tokens_per_second, gpu_memory_bytes, batch FROM metrics"
        assert tables.execute(query).fetchall() == [("logits-00000000-00000001", 512, 1024.0, None, 8)]
