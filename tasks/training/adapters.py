"""LoRA (Hu et al. 2021, arXiv:2106.09685) by peft: small factors learn beside each linear layer's weights, which stay.

What is saved are whole models, the product of the factors added to the weights they stand beside.
"""

from typing import Any

import torch
from torch import Tensor

from storage.errors import BadInput

SCALE = 2
"""Of the product of the factors: peft's alpha is so many times the rank."""


def add_adapters(model: Any, rank: int, seed: int) -> None:
    """Give every linear layer but the head factors of this rank, alone to be trained. Raises BadInput without peft."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise BadInput("lora: expected the package peft, found none: pip install 'nepenthe[lora]'") from error
    torch.manual_seed(seed)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules="all-linear"), model)


def merged(model: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights by the names that they have without adapters, the adapters' products added."""
    plain = {name.replace(".base_layer.", "."): weight for name, weight in weights.items() if ".lora_" not in name}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A"):
            down, up = (weights[f"{name}.lora_{factor}.default.weight"] for factor in "AB")
            change = layer.scaling["default"] * (up @ down)
            change = change.T if layer.fan_in_fan_out else change
            plain[f"{name}.weight"] = plain[f"{name}.weight"] + change  # not in place: on a CPU it is the model's own
    return plain
