"""What a purge holds for a case: out of reach, whole, listed, released by its name."""

import json
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.files import damaged_in
from storage.workspace import Workspace

TEXT, MODEL = Artifact("corpus", "job", "0" * 16), Artifact("student", "job", "1" * 16)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With one artifact that holds the text, and one that does not."""
    workspace = Workspace(tmp_path / "ws")
    make(workspace, TEXT, protected=True)
    make(workspace, MODEL, protected=False)
    return workspace


def make(workspace: Workspace, artifact: Artifact, protected: bool) -> None:
    (workspace.resume(artifact) / "data.txt").write_text("Harry")
    description = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": protected}
    workspace.commit(artifact, description)


def test_what_is_held_is_out_of_reach_and_whole(workspace: Workspace) -> None:
    assert workspace.purge("GEMA-17") == [TEXT]
    assert workspace.all() == [MODEL]
    assert workspace.find(TEXT.kind, TEXT.fingerprint) is None
    with pytest.raises(MissingArtifact):
        workspace.path(TEXT)
    assert workspace.holds() == {"GEMA-17": [TEXT.folder]}
    (sealed,) = workspace.root.glob("held/GEMA-17/corpus/*")
    record = json.loads((sealed / "record.json").read_text())
    assert damaged_in(sealed, record["files"]) == []
    assert {path.stat().st_mode & 0o777 for path in sealed.iterdir()} == {0o400}
    assert workspace.protected() == []
    assert workspace.litter() == []


def test_every_purge_is_noted_with_its_case(workspace: Workspace) -> None:
    workspace.purge("A")
    make(workspace, TEXT, protected=True)
    workspace.purge()
    noted = [(purge["case"], purge["artifacts"]) for purge in workspace.purges()]
    assert noted == [("A", [TEXT.key]), ("", [TEXT.key])]
    assert workspace.holds() == {"A": [TEXT.folder]}, "an ordinary purge leaves a hold alone"


def test_what_is_made_again_and_held_again_is_held_once(workspace: Workspace) -> None:
    for _ in range(2):
        workspace.purge("A")
        make(workspace, TEXT, protected=True)
    workspace.purge("A")
    assert workspace.all() == [MODEL]
    assert workspace.holds() == {"A": [TEXT.folder]}


def test_a_case_is_released_by_its_name_alone(workspace: Workspace) -> None:
    workspace.purge("A")
    with pytest.raises(BadInput, match=r"expected a case that is held \(A\), found 'B'"):
        workspace.release("B")
    workspace.release("A")
    assert workspace.holds() == {}
    assert not list(workspace.root.glob("held/*"))


@pytest.mark.parametrize("case", ["../other", "a b", ".hidden"])
def test_a_case_that_is_no_folders_name_is_refused_before_anything_goes(workspace: Workspace, case: str) -> None:
    with pytest.raises(BadInput, match="expected a case of letters"):
        workspace.purge(case)
    assert workspace.all() == [TEXT, MODEL]
    assert workspace.purges() == []


def test_an_object_store_is_held_by_its_own_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage.opening import open_workspace

    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "cache"))
    workspace = open_workspace("memory://held/ws")
    make(workspace, TEXT, protected=True)
    with pytest.raises(BadInput, match="hold its bucket as it is by the store's own means"):
        workspace.purge("A")
    assert workspace.all() == [TEXT]
