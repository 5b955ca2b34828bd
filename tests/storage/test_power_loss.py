"""After a power loss no record is there without its bytes, and no shard: whatever was not synced may be lost."""

import hashlib
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage.artifact import Artifact
from storage.shards import shard_writer, write_shard
from storage.workspace import Workspace

if not Path("/proc/self/fd").is_dir():
    pytest.skip("needs /proc", allow_module_level=True)

MADE = Artifact("logits", "x", "a" * 16)
DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
Names = dict[str, int]  # of a folder: name -> inode


class Disk:
    """A disk that loses whatever was not synced. It looks after every step below `root` what a crash would leave.

    A file keeps the bytes of its last fsync, or none. A folder keeps its names of now, or those of its last fsync: a
    file system may write them early or late, so every mixture of the workspace's, the kinds' and the artifacts' folders
    is looked at.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bytes: dict[int, bytes] = {}
        self.removed: dict[int, bytes] = {}
        self.names: dict[int, Names] = {}
        self.inodes: dict[int, Path] = {}
        self.looks = 0
        self.lies: list[str] = []
        """What a power loss would have left and must not."""

    def synced(self, descriptor: int) -> None:
        """Remember what is on the disk now."""
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self.names[found.st_ino] = _names(descriptor)
        else:
            self.bytes[found.st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def forget(self, path: Any, folder: int | None) -> None:
        """A removed file stays as long as its folder's old names do. Its inode is soon another file's."""
        found = os.stat(path, dir_fd=folder, follow_symlinks=False)
        if found.st_nlink == 1:
            self.removed[found.st_ino] = self.bytes.pop(found.st_ino, b"")

    def look(self) -> None:
        """What every way of losing power would leave just now."""
        self.looks += 1
        for late in itertools.product((False, True), repeat=3):
            for folder, names in self._artifacts(late):
                self._judge(folder, names, late)

    def kept(self) -> dict[str, dict[str, bytes]]:
        """The artifacts' files that nothing can take any more."""
        found = {}
        for folder, names in self._artifacts((True, True, True)):
            found[folder] = {name: self._read(inode, late=True) for name, inode in names.items()}
        return found

    def _read(self, inode: int, late: bool) -> bytes:
        return self.bytes.get(inode) or (self.removed.get(inode, b"") if late else b"")

    def _artifacts(self, late: tuple[bool, ...]) -> Iterator[tuple[str, Names]]:
        for kind, inode in self._listed(self.root.stat().st_ino, self.root, late[0]).items():
            for name, below in self._listed(inode, self.root / kind, late[1]).items():
                yield f"{kind}/{name}", dict(self._below(below, late[2]))

    def _below(self, folder: int, late: bool, prefix: str = "") -> Iterator[tuple[str, int]]:
        for name, inode in self._listed(folder, None, late).items():
            yield f"{prefix}{name}", inode
            yield from self._below(inode, late, f"{prefix}{name}/")

    def _listed(self, inode: int, path: Path | None, late: bool) -> Names:
        if late:
            return self.names.get(inode, {})
        place = path or self._place_of(inode)
        if place is None or not place.is_dir():
            return {}
        descriptor = os.open(place, os.O_RDONLY)
        try:
            return _names(descriptor)
        finally:
            os.close(descriptor)

    def _place_of(self, inode: int) -> Path | None:
        found = self.inodes.get(inode)
        if found is None or not found.exists() or found.stat().st_ino != inode:
            self.inodes = {path.stat().st_ino: path for path in self.root.rglob("*") if path.is_dir()}
        return self.inodes.get(inode)

    def _judge(self, folder: str, names: Names, late: tuple[bool, ...]) -> None:
        """A record that can be read needs its files, and a shard that has its name needs its bytes."""
        bytes_of = {name: self._read(inode, late[-1]) for name, inode in names.items()}
        if not folder.endswith(".partial"):
            record = _parsed(bytes_of.get("record.json", b""))
            for name, expected in record.get("files", {}).items():
                if hashlib.sha256(bytes_of.get(name, b"")).hexdigest() != expected["sha256"]:
                    self.lies.append(f"{folder} has a record without the bytes of {name} {late}")
        for name in names:
            if name.endswith((".parquet", ".arrow")) and not name.startswith(".") and not bytes_of[name]:
                self.lies.append(f"{folder} has {name} without its bytes {late}")


def _names(folder: int) -> Names:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return found


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    """The disk below tmp_path/ws, from now on."""
    (tmp_path / "ws").mkdir()
    disk = Disk(tmp_path / "ws")
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "unlink")}

    def fsync(descriptor: int) -> None:
        real["fsync"](descriptor)
        disk.synced(descriptor)
        disk.look()

    def moved(name: str) -> Callable[..., None]:
        def move(source: Path, target: Path) -> None:
            if Path(target).is_file():
                disk.forget(target, None)
            real[name](source, target)
            disk.look()

        return move

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        disk.forget(path, dir_fd)
        real["unlink"](path, dir_fd=dir_fd)
        disk.look()

    hooks = {"fsync": fsync, "rename": moved("rename"), "replace": moved("replace"), "unlink": unlink}
    for name, hook in hooks.items():
        monkeypatch.setattr(os, name, hook)
    return disk


def test_what_is_committed_is_on_the_disk_and_never_a_record_alone(
    disk: Disk, make_missing: Callable[[Workspace, Artifact], list[str]]
) -> None:
    workspace = Workspace(disk.root)
    make_missing(workspace, MADE)
    assert disk.lies == []
    assert disk.looks > 20
    files = disk.kept()[MADE.folder]
    record = json.loads(files["record.json"])
    assert record == workspace.record(MADE)
    assert {"logits-00000000-00000004.parquet", "steps/000002/model.safetensors"} <= record["files"].keys()
    for name, expected in record["files"].items():
        assert hashlib.sha256(files[name]).hexdigest() == expected["sha256"]


def test_what_is_taken_apart_or_removed_leaves_no_record_behind(
    disk: Disk, make_missing: Callable[[Workspace, Artifact], list[str]]
) -> None:
    workspace = Workspace(disk.root)
    make_missing(workspace, MADE)
    workspace.reopen(MADE, ["label_curves-00000004-00000008.parquet"])
    make_missing(workspace, MADE)
    workspace.remove(MADE)
    assert disk.lies == []
    assert "record.json" not in disk.kept().get(MADE.folder, {})


def test_a_shard_that_has_its_name_has_its_bytes(disk: Disk) -> None:
    folder = Workspace(disk.root).resume(MADE)
    row = {"step": 1, "loss": 0.5, "learning_rate": 0.1, "grad_norm": 1.0, "seconds": 1.0}
    write_shard(folder / "training_steps-1.parquet", [row])
    write_shard(folder / "training_steps-2.arrow", [row])
    with shard_writer(folder / "training_steps-3.arrow") as write:
        write(row)
    assert disk.lies == []
    assert disk.looks >= 6


def test_what_a_person_decided_is_on_the_disk_when_it_is_said_to_be(disk: Disk) -> None:
    workspace = Workspace(disk.root)
    workspace.write(workspace.decisions(MADE), b"{}")
    assert disk.kept() == {}  # the folder is new: its name is lost with what is in it
    workspace.write(workspace.decisions(MADE), b'{"decisions": {}}')
    assert disk.lies == []


def test_a_model_has_its_name_when_it_is_whole(disk: Disk, tiny_model: Path) -> None:
    """A run that goes on takes a model's folder for whole."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.training.checkpoint import save_model

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    folder = Workspace(disk.root).resume(MADE) / "steps"
    folder.mkdir()
    save_model(model, folder / "last", model.state_dict(), tokenizer)
    assert is_on_the_disk(disk, folder / "last")


def test_a_checkpoint_is_on_the_disk_before_the_last_one_goes(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers.trainer_callback import TrainerState

    from tasks.training import checkpoint

    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    trainer = SimpleNamespace(
        model=model,
        optimizer=SimpleNamespace(optimizer=optimizer),
        lr_scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer),
        state=TrainerState(global_step=1),
    )
    folder, gone, rmtree = Workspace(disk.root).resume(MADE), [], shutil.rmtree

    def removed(path: Path, ignore_errors: bool = False) -> None:
        if path.name == "checkpoint-1" and path.exists():
            assert is_on_the_disk(disk, folder / "checkpoint-2")
            assert disk.names[folder.stat().st_ino].keys() == {"checkpoint-1", "checkpoint-2"}
            gone.append(path)
        rmtree(path, ignore_errors)

    monkeypatch.setattr(checkpoint.shutil, "rmtree", removed)
    checkpoint.save_checkpoint(folder, trainer)
    trainer.state.global_step = 2
    last = checkpoint.save_checkpoint(folder, trainer)
    assert gone == [folder / "checkpoint-1"]
    assert checkpoint.last_checkpoint(folder) == last == folder / "checkpoint-2"


def is_on_the_disk(disk: Disk, folder: Path) -> bool:
    files = list(folder.iterdir())
    assert len(files) > 2
    assert disk.names[folder.stat().st_ino].keys() == {file.name for file in files}
    return all(disk.bytes.get(file.stat().st_ino, b"") == file.read_bytes() for file in files)
