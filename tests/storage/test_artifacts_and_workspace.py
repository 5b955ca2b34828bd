"""An artifact is known by what it was made from, and done is a record written last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.artifact import Artifact, canonical, fingerprint
from storage.errors import DamagedArtifact, MissingArtifact, WorkspaceBusy
from storage.files import Hashes
from storage.settings import Settings
from storage.workspace import Workspace

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0}


class Example(Settings):
    alpha: float = 5.0
    keep: tuple[int, ...] = (1, 2)


@given(JSON)
def test_canonical_values_survive_json(value: object) -> None:
    assert canonical(json.loads(json.dumps(canonical(value)))) == canonical(value)


def test_order_of_keys_is_no_identity_but_values_kind_and_version_are() -> None:
    same = fingerprint("blocks", 1, {"a": 1, "b": "x"})
    assert fingerprint("blocks", 1, {"b": "x", "a": 1}) == same
    others = {
        fingerprint("blocks", 2, {"a": 1, "b": "x"}),
        fingerprint("labels", 1, {"a": 1, "b": "x"}),
        fingerprint("blocks", 1, {"a": 2, "b": "x"}),
        fingerprint("blocks", 1, {"a": "1", "b": "x"}),
    }
    assert len(others | {same}) == 5


def test_settings_and_artifacts_are_hashed_by_content_not_by_name_or_type() -> None:
    assert canonical(Example()) == {"alpha": 5.0, "keep": [1, 2]}
    assert canonical(Artifact("corpus", "mine", "abc")) == canonical(Artifact("corpus", "yours", "abc")) == "abc"


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, object(), float("nan"), float("inf"), {1: 2}, b"x"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="fingerprint"):
        canonical({"setting": value})


def commit(workspace: Workspace, artifact: Artifact, text: str = "data", protected: bool = False) -> Path:
    partial = workspace.partial(artifact)
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "file.txt").write_text(text)
    workspace.commit(artifact, DESCRIPTION | {"holds_protected_text": protected})
    return workspace.path(artifact)


def test_only_a_committed_artifact_is_found_under_any_name(tmp_path: Path) -> None:
    workspace, artifact = Workspace(tmp_path), Artifact("corpus", "first-name", "0123456789abcdef")
    workspace.partial(artifact).mkdir(parents=True)
    (workspace.partial(artifact) / "record.json").write_text("{}")
    assert workspace.find("corpus", artifact.fingerprint) is None
    assert workspace.all() == []
    commit(workspace, artifact)
    assert workspace.find("corpus", artifact.fingerprint) == artifact
    assert workspace.all() == [artifact]
    assert workspace.record(artifact)["files"]["file.txt"]["bytes"] == 4


def test_a_missing_artifact_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="the labels stage makes it"):
        Workspace(tmp_path).path(Artifact("labels", "x", "0" * 16))


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    workspace, artifact = Workspace(tmp_path), Artifact("logits", "x", "0" * 16)
    folder = commit(workspace, artifact)
    workspace.verify(artifact)
    (folder / "file.txt").write_text("dat\x00")
    with pytest.raises(DamagedArtifact, match=r"file\.txt"):
        workspace.verify(artifact)


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    busy = r"in use by .* process \d+.*; wait for it or choose another"
    with workspace.writing(), pytest.raises(WorkspaceBusy, match=busy), workspace.writing():
        pass


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal; from storage.workspace import Workspace\n"
        f"with Workspace({str(tmp_path)!r}).writing(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Workspace(tmp_path).writing():
        pass


def test_hashes_follow_contents_and_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("one")
    first = Hashes(tmp_path / "hashes.json").files([file])
    assert Hashes(tmp_path / "hashes.json").files([file]) == first
    file.write_text("two!")
    assert Hashes(tmp_path / "hashes.json").files([file]).fingerprint != first.fingerprint
    moved = tmp_path / "elsewhere.txt"
    moved.write_text("one")
    assert Hashes(tmp_path / "hashes.json").files([moved]).fingerprint == first.fingerprint


def test_purging_removes_the_protected_and_keeps_their_records(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    text, model = Artifact("corpus", "x", "0" * 16), Artifact("student", "x", "1" * 16)
    commit(workspace, text, protected=True)
    commit(workspace, model)
    workspace.partial(Artifact("logits", "x", "2" * 16)).mkdir(parents=True)
    workspace.database.write_text("tables")
    assert workspace.purge() == [text]
    assert workspace.all() == [model]
    assert json.loads((tmp_path / "removed" / f"corpus-{'0' * 16}.json").read_text())["kind"] == "corpus"
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "purges"]
    assert sorted(left) == [f"corpus-{'0' * 16}.json", "file.txt", "record.json"]
