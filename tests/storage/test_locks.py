"""Who comes second waits or is told who was first, and a killed holder holds nothing."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.errors import WorkspaceBusy
from storage.files import Hashes
from storage.workspace import Workspace

ONE = Artifact("logits", "first", "0" * 16)
SAME = Artifact("logits", "second", "0" * 16)
OTHER = Artifact("logits", "first", "1" * 16)


def hold(root: Path, lock: str) -> "subprocess.Popen[str]":
    """A process that holds `workspace.{lock}` until its standard input closes."""
    code = (
        "import sys; from storage.workspace import Workspace; from storage.artifact import Artifact\n"
        f"with Workspace({str(root)!r}).{lock}: print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_maker_of_the_same_artifact_is_told_who_makes_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with hold(tmp_path, f"making({ONE!r})") as first:
        with pytest.raises(WorkspaceBusy, match=rf"being made by .* process {first.pid}"), workspace.making(SAME, 0):
            pass
        maker = workspace.maker(SAME)
        assert maker is not None
        assert maker.pid == first.pid
        assert list(workspace.makers()) == [f"logits-{'0' * 16}"]
        with workspace.making(OTHER, 0):
            pass
        first.communicate()
    assert workspace.maker(SAME) is None
    assert workspace.makers() == {}


def test_a_second_maker_waits_until_the_first_is_done_and_is_told_once(tmp_path: Path) -> None:
    workspace, said, order = Workspace(tmp_path), [], []
    held = threading.Event()

    def first() -> None:
        with workspace.making(ONE):
            held.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with workspace.making(SAME, waiting=said.append):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert len(said) == 1
    assert f"process {os.getpid()}" in said[0]


def test_threads_exclude_each_other_on_one_artifact_and_not_on_two(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    inside, most = [], []

    def make(artifact: Artifact) -> None:
        with workspace.making(artifact):
            inside.append(artifact)
            most.append(inside.count(artifact))
            time.sleep(0.02)
            inside.remove(artifact)

    threads = [threading.Thread(target=make, args=(artifact,)) for artifact in [ONE, OTHER] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    with workspace.making(ONE, 0), workspace.making(OTHER, 0):
        assert len(workspace.makers()) == 2


def test_a_killed_maker_leaves_no_lock_and_is_not_taken_for_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with hold(tmp_path, f"making({ONE!r})") as first:
        first.kill()
    assert workspace.maker(ONE) is None
    with workspace.making(ONE, 0):
        pass


def test_looking_who_makes_something_keeps_nobody_from_it(tmp_path: Path) -> None:
    workspace, over = Workspace(tmp_path), threading.Event()
    with hold(tmp_path, f"making({ONE!r})") as first:
        first.kill()  # its name stays in the file, so that every look takes the lock for an instant

    def resolve() -> None:
        while not over.is_set():
            workspace.maker(ONE)

    thread = threading.Thread(target=resolve)
    thread.start()
    try:
        for _ in range(50):
            with workspace.making(ONE, 0):
                pass
    finally:
        over.set()
        thread.join()


def test_runs_share_a_workspace_and_a_cleaning_waits_for_all_of_them(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with hold(tmp_path, "using(run='nightly')") as first, workspace.using(0, "mine"):
        assert {user.doing for user in workspace.users()} == {"nightly", "mine"}
        with pytest.raises(WorkspaceBusy, match=rf"process {first.pid} .*for nightly"), workspace.writing():
            pass
        first.communicate()
    assert workspace.users() == []
    with (
        workspace.writing(),
        pytest.raises(WorkspaceBusy, match=rf"in use by .* process {os.getpid()}"),
        workspace.using(),
    ):
        pass


def test_a_killed_run_is_no_user_any_more(tmp_path: Path) -> None:
    with hold(tmp_path, "using(run='nightly')") as first:
        first.kill()
    assert Workspace(tmp_path).users() == []
    with Workspace(tmp_path).writing():
        pass


def test_hashes_of_several_runs_and_threads_are_all_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "ws" / "hashes.json"
    files = [tmp_path / f"{number}.txt" for number in range(16)]
    for file in files:
        file.write_text(file.name)
    runs = [Hashes(memory) for _ in range(4)]
    threads = [threading.Thread(target=runs[number % 4].of_each, args=([file],)) for number, file in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(memory.read_text())) == 16
    assert [path.name for path in memory.parent.iterdir() if "tmp" in path.name] == []
