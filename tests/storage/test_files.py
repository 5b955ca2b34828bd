"""Listing folders that others rename and remove, and what is on the disk after a crash."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.files import listed
from storage.shards import shards_of
from storage.workspace import Workspace

NAMES = [f"logits-{number:08d}-{number + 4:08d}.parquet" for number in range(0, 40, 4)]


@contextmanager
def renamed_all_the_while(first: Path, second: Path) -> Iterator[None]:
    """A folder changes between two names."""
    over = threading.Event()

    def rename() -> None:
        while not over.is_set():
            first.rename(second)
            second.rename(first)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_patterns_are_those_of_glob(tmp_path: Path) -> None:
    for name in ("a/x/record.json", "a/x/steps/1/w", "a/.y/record.json", "b/z", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for pattern in ("*", "*/*", "*/*/record.json", "a/[!.]*", "?/z", "nothing/*", "c/*"):
        assert listed(tmp_path, pattern) == sorted(tmp_path.glob(pattern)), pattern
    assert listed(tmp_path, "**") == sorted(tmp_path.rglob("*"))
    assert listed(tmp_path / "gone", "*") == listed(tmp_path / "gone", "**") == []


def test_a_folder_that_is_renamed_while_it_is_listed_is_listed_whole_or_not_at_all(tmp_path: Path) -> None:
    workspace, artifact = Workspace(tmp_path), Artifact("logits", "x", "a" * 16)
    folder = workspace.resume(artifact)
    for name in NAMES:
        (folder / name).touch()
    seen = set()
    with renamed_all_the_while(folder, folder.with_name(folder.name.removesuffix(".partial"))):
        for _ in range(3000):
            seen.add(len(shards_of(folder)))
            assert workspace.all() == []  # there is no record
            assert len(listed(tmp_path, "*/*/*")) % len(NAMES) == 0  # under no name, one, or both
            assert workspace.usage().keys() == {"logits"}
    assert seen <= {0, len(NAMES)}
    assert len(NAMES) in seen


def test_every_file_is_met_when_its_artifact_is_finished_while_others_are_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    artifacts = [Artifact("answers", "x", f"{number:016x}") for number in range(3)]
    for artifact in artifacts:
        (workspace.resume(artifact) / "answers.jsonl").write_text(artifact.fingerprint)
    finished: list[str] = []

    def read(path: Path) -> str:
        if not finished:  # the next one is finished before it is read
            described = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
            workspace.commit(artifacts[1], described)
            finished.append(artifacts[1].fingerprint)
        return path.read_text()

    found = list(workspace.read_each("answers", "answers.jsonl", read))
    assert sorted(found) == sorted(artifact.fingerprint for artifact in artifacts)


@pytest.mark.parametrize("kind", [PermissionError, OSError])
def test_a_folder_that_cannot_be_read_is_no_empty_one(
    kind: type[OSError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> None:
        raise kind(5, "broken")

    monkeypatch.setattr("storage.files.os.scandir", refused)
    with pytest.raises(OSError, match="broken"):
        listed(tmp_path, "*")
