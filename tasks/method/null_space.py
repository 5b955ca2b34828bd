"""Updates kept out of what other text uses, so that a student can go far without unlearning the rest.

A linear layer answers to its inputs. Its change is projected onto the null space of the directions along which its
inputs on text to keep are longest: on such inputs the layer then says what it said before (gradient projection memory,
Saha et al. 2021, arXiv:2103.09762; for edits of facts AlphaEdit, Fang et al. 2024, arXiv:2410.02355). The paper has no
such thing.

N positions, O outputs, I inputs, K directions.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor


class NullSpace:
    """The directions of every linear layer that its weights must not change along, and what they do there now."""

    def __init__(self, model: Any, texts: Iterable[Tensor], share: float) -> None:
        """From passes of `model` over texts [R, T] of token ids; `share` of each layer's directions are kept."""
        layers = linear_layers(model)
        self._kept = []
        for name, moment_II in input_moments(model, layers, texts).items():
            directions_IK = principal_directions(moment_II, share)
            self._kept.append((layers[name], directions_IK, weight_of(layers[name]) @ directions_IK))

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def project(self) -> None:
        """Take back what the weights have changed along these directions."""
        for layer, directions_IK, own_OK in self._kept:
            weight_OI = weight_of(layer)
            weight_OI -= (weight_OI @ directions_IK - own_OK) @ directions_IK.T


def linear_layers(model: Any) -> dict[str, Any]:
    """By name; GPT-2's go by another class. A head that is tied to the embedding is one of them."""
    return {name: part for name, part in model.named_modules() if type(part).__name__ in ("Linear", "Conv1D")}


def weight_of(layer: Any) -> Tensor:
    """[O, I], a view of what the layer holds."""
    weight: Tensor = layer.weight.detach()
    return weight.T if type(layer).__name__ == "Conv1D" else weight


@torch.no_grad()
def input_moments(model: Any, layers: dict[str, Any], texts: Iterable[Tensor]) -> dict[str, Tensor]:
    """Sum of x x^T [I, I] over the inputs x [I] of each layer at every position of the texts."""
    moments: dict[str, Tensor] = {}

    def add(name: str, _layer: Any, inputs: tuple[Tensor, ...]) -> None:
        input_NI = inputs[0].flatten(0, -2).float()
        moments[name] = moments.get(name, 0) + input_NI.T @ input_NI

    with ExitStack() as undone:
        undone.callback(model.train, model.training)
        model.eval()  # dropout would draw
        for name, layer in layers.items():
            undone.callback(layer.register_forward_pre_hook(partial(add, name)).remove)
        for ids_RT in texts:
            model(input_ids=ids_RT.to(model.device), use_cache=False)
    return moments


def principal_directions(moment_II: Tensor, share: float) -> Tensor:
    """[I, K]: orthonormal, the K of I with the largest moment."""
    directions_II: Tensor = torch.linalg.eigh(moment_II).eigenvectors  # in ascending order
    return directions_II[:, len(moment_II) - round(share * len(moment_II)) :].contiguous()
