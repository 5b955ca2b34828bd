"""A small stage that makes only what is missing, and a hand that damages it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.tables import write_shard
from storage.workspace import Workspace

DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
SHARDS = ("00000000-00000004", "00000004-00000008", "00000008-00000010")

MakeMissing = Callable[[Workspace, Artifact], list[str]]


@pytest.fixture
def make_missing() -> MakeMissing:
    """Make the shards and the model that are missing, as a stage does, commit, and say what was made."""

    def make(workspace: Workspace, artifact: Artifact) -> list[str]:
        folder, made = workspace.resume(artifact), []
        for shard in SHARDS:
            if (folder / f"logits-{shard}.parquet").exists():
                continue
            for table in ("label_curves", "logits"):
                path = folder / f"{table}-{shard}.parquet"
                write_shard(path, [{"block_id": int(shard[:8]), "position": position} for position in range(4)])
                workspace.keep(artifact, path)
            made.append(shard)
        if not (folder / "steps" / "000002").exists():
            for step in ("000001", "000002"):
                (folder / "steps" / step).mkdir(parents=True, exist_ok=True)
                (folder / "steps" / step / "model.safetensors").write_bytes(step.encode() * 100)
                workspace.keep(artifact, folder / "steps" / step)
            made.append("steps")
        workspace.commit(artifact, DESCRIPTION)
        return made

    return make


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Turn one bit of a file, and neither its size nor its time."""

    def turn(path: Path) -> None:
        data, stat = bytearray(path.read_bytes()), path.stat()
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return turn
