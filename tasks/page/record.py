"""The record: every artifact behind the page, found by following inputs, and what the models and the machine were."""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.page.shards import Row


def history(workspace: Workspace, first: list[Artifact]) -> list[Row]:
    """The records of these artifacts and of all that they were made from, sources first."""
    known = {artifact.fingerprint: artifact for artifact in workspace.all()}
    found: dict[str, Row] = {}

    def visit(artifact: Artifact) -> None:
        if artifact.fingerprint in found:
            return
        record = workspace.record(artifact)
        for name in made_from(record["inputs"]):
            if name in known:
                visit(known[name])
        found[artifact.fingerprint] = record | {"folder": artifact.folder}

    for artifact in first:
        visit(artifact)
    return list(found.values())


def made_from(inputs: Any) -> list[str]:
    """Every fingerprint in a record's inputs; `fingerprint/part` names a part of an artifact."""
    if isinstance(inputs, dict):
        return [name for value in inputs.values() for name in made_from(value)]
    if isinstance(inputs, list):
        return [name for value in inputs for name in made_from(value)]
    return [inputs.split("/")[0]] if isinstance(inputs, str) else []


def model_facts(folder: Path) -> Row:
    """Architecture, size and the weights' hashes-by-name of a Hugging Face directory, without loading it."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parameters = sum(_parameters(path) for path in folder.glob("*.safetensors"))
    return {
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "parameters": parameters,
        "layers": config.get("num_hidden_layers") or config.get("n_layer"),
        "vocabulary": config.get("vocab_size"),
        "context": config.get("max_position_embeddings") or config.get("n_positions"),
    }


def _parameters(path: Path) -> int:
    """Parameters in a safetensors file, from its header: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
