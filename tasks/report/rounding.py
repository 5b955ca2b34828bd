"""Weights of an exported model rounded to bfloat16, and the share of the update that they keep.

Nearest rounding takes every weight that moved by less than half a step back to where it was, all of them the same way;
stochastic rounding does not.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.measure.update import KeptShare, weight_files
from tasks.method.rounding import stochastically_rounded


def round_model(folder: Path, baseline: Path | None, seed: int) -> KeptShare:
    """Round the float32 weights of a Hugging Face directory in place; compared with the baseline's where it is there.

    The noise of a weight depends on seed and name alone, not on how the weights are divided into files.
    """
    share, total = KeptShare(), 0
    before = dict(weight_files(baseline)) if baseline else {}
    for path in sorted(folder.glob("*.safetensors")):
        weights = load_file(path)
        for name, weight in weights.items():
            if weight.dtype == torch.float32:
                weights[name] = stochastically_rounded(weight, _generator(seed, name))
                if name in before and (old := _weight(before[name], name)).shape == weight.shape:
                    share.add(name, old, weight, weights[name])
            total += weights[name].nbytes
        save_file(weights, path, metadata={"format": "pt"})
    _tell(folder, total)
    return share


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _weight(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        weight: Tensor = file.get_tensor(name)
    return weight


def _tell(folder: Path, total: int) -> None:
    """Say in config and index what the weights are now, and how many bytes they take."""
    for name in ("config.json", "model.safetensors.index.json"):
        if (folder / name).is_file():
            said = json.loads((folder / name).read_text(encoding="utf-8"))
            for part in (said, said.get("text_config") or {}):
                part.update({key: "bfloat16" for key in ("dtype", "torch_dtype") if key in part})
            if "weight_map" in said:
                said["metadata"] = said.get("metadata", {}) | {"total_size": total}
            (folder / name).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
