"""What the models behind the page are, by their files."""

import json
import struct
from math import prod
from pathlib import Path

from tasks.page.shards import Row


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
