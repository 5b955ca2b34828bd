"""Weights of an exported model rounded to bfloat16, and the share of the update that they keep.

Nearest rounding takes every weight that moved by less than half a step back to where it was, all of them the same way;
stochastic rounding does not.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.method.rounding import stochastically_rounded


class KeptShare:
    """<stored - before, after - before> / |after - before|^2, of each layer and in all."""

    def __init__(self) -> None:
        self._sums = defaultdict[str, tuple[float, float]](lambda: (0.0, 0.0))

    def add(self, name: str, before: Tensor, after: Tensor, stored: Tensor) -> None:
        """A weight by its name: in the baseline, in the student, and as it is stored."""
        update, kept = ((weight.double() - before.double()).flatten() for weight in (after, stored))
        layer = self._sums[_layer(name)]
        self._sums[_layer(name)] = layer[0] + float(kept @ update), layer[1] + float(update @ update)

    @property
    def layers(self) -> dict[str, float]:
        """By layer; one that did not change is left out."""
        return {layer: kept / all_ for layer, (kept, all_) in self._sums.items() if all_}

    @property
    def whole(self) -> float | None:
        """Of all weights together; None where nothing was compared, or nothing changed."""
        kept, all_ = (sum(sums) for sums in zip(*self._sums.values(), strict=True)) if self._sums else (0.0, 0.0)
        return kept / all_ if all_ else None


def round_model(folder: Path, baseline: Path | None, seed: int) -> KeptShare:
    """Round the float32 weights of a Hugging Face directory in place; compared with the baseline's where it is there.

    The noise of a weight depends on seed and name alone, not on how the weights are divided into files.
    """
    share, total = KeptShare(), 0
    before = dict(_places(baseline)) if baseline else {}
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


def _layer(name: str) -> str:
    """model.layers.3 of model.layers.3.mlp.up_proj.weight; the name itself of what is in no layer."""
    numbered = re.match(r".*?\.\d+(?=\.)", name)
    return numbered[0] if numbered else name


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _places(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every weight."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            yield from ((name, path) for name in file.keys())  # noqa: SIM118  (it is no dictionary)


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
