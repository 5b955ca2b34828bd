"""How far a training moved a model's weights, and what a form of lower precision keeps of that."""

import re
from collections import defaultdict
from collections.abc import Iterator
from math import prod, sqrt
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from storage.artifact import Json

SAMPLED = 1 << 20  # weights of a tensor at most, its first rows: a model of 7 B is looked through in seconds


class KeptShare:
    """<stored - before, after - before> / |after - before|^2, of each layer and in all."""

    def __init__(self) -> None:
        self._sums = defaultdict[str, tuple[float, float]](lambda: (0.0, 0.0))

    def add(self, name: str, before: Tensor, after: Tensor, stored: Tensor, times: float = 1.0) -> None:
        """A weight by its name: in the baseline, in the student, and as it is stored; it stands for `times` as many."""
        update, kept = ((weight.double() - before.double()).flatten() for weight in (after, stored))
        layer, (share, whole) = _layer(name), self._sums[_layer(name)]
        self._sums[layer] = share + times * float(kept @ update), whole + times * float(update @ update)

    @property
    def layers(self) -> dict[str, float]:
        """By layer; one that did not change is left out."""
        return {layer: kept / all_ for layer, (kept, all_) in self._sums.items() if all_}

    @property
    def whole(self) -> float | None:
        """Of all weights together; None where nothing was compared, or nothing changed."""
        kept, all_ = (sum(sums) for sums in zip(*self._sums.values(), strict=True)) if self._sums else (0.0, 0.0)
        return kept / all_ if all_ else None

    @property
    def distance(self) -> float:
        """L2 norm of after - before."""
        return sqrt(sum(squared for _, squared in self._sums.values()))


def update_of(before: Path, after: Path) -> dict[str, Json]:
    """{distance, length, bfloat16, layers}: how far the weights moved and how long the baseline's are (L2 norms), and
    the share of the move that the nearest bfloat16 keeps, in all (None where nothing moved) and by layer.

    From at most SAMPLED weights of each tensor, that stand for the rest.
    """
    share, squared, places = KeptShare(), 0.0, dict(weight_files(before))
    for name, path in weight_files(after):
        if name in places:
            (old, times), (new, _) = (_sample(folder, name) for folder in (places[name], path))
            if old.shape == new.shape:
                share.add(name, old, new, new.bfloat16().float(), times)
                squared += times * float(old.double().square().sum())
    return {
        "distance": share.distance,
        "length": sqrt(squared),
        "bfloat16": share.whole,
        "layers": dict(sorted(share.layers.items())),
    }


def weight_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every weight of a Hugging Face directory."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            yield from ((name, path) for name in file.keys())  # noqa: SIM118  (it is no dictionary)


def _sample(path: Path, name: str) -> tuple[Tensor, float]:
    """The first rows of a tensor in float32, and how many times as many weights it has."""
    with safe_open(path, "pt") as file:
        whole = file.get_slice(name)
        shape = whole.get_shape()
        if not shape:
            return file.get_tensor(name).float(), 1.0
        rows = max(1, SAMPLED // max(1, prod(shape[1:])))
        sample: Tensor = whole[:rows].float()
    return sample, prod(shape) / max(1, sample.numel())


def _layer(name: str) -> str:
    """model.layers.3 of model.layers.3.mlp.up_proj.weight; the name itself of what is in no layer."""
    numbered = re.match(r".*?\.\d+(?=\.)", name)
    return numbered[0] if numbered else name
