"""What a purge holds for a case: out of reach, whole, listed, released by its name."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.files import damaged_in
from storage.remote.objects import Objects
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


def test_a_release_is_noted_with_what_was_held_and_a_later_hold_for_the_case_is_another(workspace: Workspace) -> None:
    workspace.purge("A")
    workspace.purge("A")  # holds nothing more
    make(workspace, TEXT, protected=True)
    workspace.purge("B")
    workspace.release("A")
    make(workspace, TEXT, protected=True)
    workspace.purge("A")
    noted = [(purge["case"], purge["artifacts"], purge.get("released", {}).keys()) for purge in workspace.purges()]
    ended = {"at", "by"}
    assert noted == [("A", [TEXT.key], ended), ("A", [], ended), ("B", [TEXT.key], set()), ("A", [TEXT.key], set())]
    assert all(purge["at"] <= purge["released"]["at"] for purge in workspace.purges() if "released" in purge)


@pytest.mark.parametrize("case", ["../other", "a b", ".hidden", f"job-{16 * '0'}"])
def test_a_case_that_is_no_folders_name_is_refused_before_anything_goes(workspace: Workspace, case: str) -> None:
    with pytest.raises(BadInput, match="expected a case of letters"):
        workspace.purge(case)
    assert workspace.all() == [TEXT, MODEL]
    assert workspace.purges() == []


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.cluster)])
def url(request: pytest.FixtureRequest) -> str:
    """Of an object store."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://bucket/{uuid.uuid4().hex}"


def test_a_hold_in_an_object_store_is_seen_and_released_by_every_machine(
    url: str, machine: Callable[..., Workspace]
) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    for artifact in (TEXT, MODEL):
        make(one, artifact, protected=artifact == TEXT)
    record = one.record(TEXT)
    two.path(TEXT)
    assert one.purge("A") == [TEXT]
    for workspace in (one, two):
        assert workspace.all() == [MODEL]
        assert workspace.holds() == {"A": [TEXT.folder]}
        assert [(purge["case"], purge["artifacts"]) for purge in workspace.purges()] == [("A", [TEXT.key])]
        with pytest.raises(MissingArtifact):
            workspace.path(TEXT)
    store, sealed = Objects(url), f"held/A/{TEXT.folder}"
    assert json.loads(store.read(f"{sealed}/record.json") or b"") == record
    assert store.read(f"{sealed}/{record['attempt']}/data.txt") == b"Harry"
    make(two, TEXT, protected=True)
    assert two.purge("A") == [TEXT], "made again, held once"
    assert store.sizes(sealed).keys() == {"record.json", f"{record['attempt']}/data.txt"}
    two.purge()
    with pytest.raises(BadInput, match=r"expected a case that is held \(A\), found 'B'"):
        one.release("B")
    two.release("A")
    assert all(purge["released"]["by"] for purge in one.purges() if purge["case"] == "A")
    assert one.holds() == {}
    assert store.sizes("held") == {}


def test_a_killed_hold_in_an_object_store_loses_nothing(
    machine: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = machine(f"memory://bucket/{uuid.uuid4().hex}")
    make(workspace, TEXT, protected=True)
    with monkeypatch.context() as killed:
        killed.setattr(Objects, "copy", lambda self, pairs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.purge("A")
    assert workspace.all() == [TEXT]
    workspace.purge("A")
    assert workspace.holds() == {"A": [TEXT.folder]}
