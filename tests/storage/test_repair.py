"""Damage is found by checksum, and only what is damaged, with what belongs to it, is made again."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.errors import DamagedArtifact
from storage.workspace import Workspace
from tasks.engine.ranks import folder_of_ranks

Make = Callable[[Workspace, Artifact], list[str]]
Flip = Callable[[Path], None]
DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
SHARDS = ("00000000-00000004", "00000004-00000008", "00000008-00000010")  # that `make_missing` makes
MADE = Artifact("logits", "x", "a" * 16)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


def test_a_flipped_byte_in_a_shard_is_found_and_that_shard_alone_is_made_again(
    workspace: Workspace, make_missing: Make, flip: Flip
) -> None:
    assert make_missing(workspace, MADE) == [*SHARDS, "steps"]
    before = workspace.record(MADE)["files"]
    assert workspace.damaged(MADE) == []

    bad = f"label_curves-{SHARDS[1]}.parquet"
    flip(workspace.path(MADE) / bad)
    assert workspace.damaged(MADE) == [bad]
    with pytest.raises(DamagedArtifact, match=bad):
        workspace.verify(MADE)

    workspace.reopen(MADE, [bad])
    assert workspace.find(MADE.kind, MADE.fingerprint) is None
    assert workspace.partials() == [MADE]
    assert make_missing(workspace, MADE) == [SHARDS[1]]
    assert workspace.damaged(MADE) == []
    assert workspace.record(MADE)["files"] == before


def test_a_lost_file_is_damage_too(workspace: Workspace, make_missing: Make) -> None:
    make_missing(workspace, MADE)
    (workspace.path(MADE) / f"logits-{SHARDS[0]}.parquet").unlink()
    assert workspace.damaged(MADE) == [f"logits-{SHARDS[0]}.parquet"]
    workspace.reopen(MADE, workspace.damaged(MADE))
    assert make_missing(workspace, MADE) == [SHARDS[0]]


def test_a_damaged_model_takes_the_whole_training_with_it(workspace: Workspace, make_missing: Make, flip: Flip) -> None:
    make_missing(workspace, MADE)
    flip(workspace.path(MADE) / "steps" / "000001" / "model.safetensors")
    assert workspace.damaged(MADE) == ["steps/000001/model.safetensors"]
    workspace.reopen(MADE, workspace.damaged(MADE))
    assert make_missing(workspace, MADE) == ["steps"]
    assert workspace.damaged(MADE) == []


def test_what_a_killed_writer_left_is_no_part_of_an_artifact(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = workspace.resume(MADE)
    (partial / "file.txt").write_text("data")
    (partial / ".logits.parquet.tmp").write_text("half")
    with suppress(KeyboardInterrupt), monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", lambda *_, **__: None)  # ranks that are killed remove nothing
        with folder_of_ranks(partial, "-0") as ranks:
            (ranks / "spec.pickle").write_text("half")
            raise KeyboardInterrupt
    assert (ranks / "spec.pickle").exists()
    workspace.commit(MADE, DESCRIPTION)
    assert list(workspace.record(MADE)["files"]) == ["file.txt"]
    assert [path.name for path in workspace.path(MADE).glob(".*")] == []


def test_a_killed_removal_does_not_stand_in_the_way(workspace: Workspace, make_missing: Make) -> None:
    make_missing(workspace, MADE)
    (workspace.path(MADE) / "record.json").unlink()
    assert make_missing(workspace, MADE) == [*SHARDS, "steps"]
    assert workspace.damaged(MADE) == []


def test_who_finishes_second_leaves_the_first_ones_artifact(workspace: Workspace) -> None:
    for text in ("first", "second"):
        (workspace.resume(MADE) / "file.txt").write_text(text)
        workspace.commit(MADE, DESCRIPTION)
    assert (workspace.path(MADE) / "file.txt").read_text() == "first"
    assert workspace.partials() == []
