"""Settings that two stages share."""

import math
from typing import Literal

from storage.errors import BadInput
from storage.settings import Settings
from tasks.engine.stage import Placement


class Training(Settings):
    """What both trainings share (METHOD.md 4). Defaults are the paper's where it names them."""

    learning_rate: float
    """Peak learning rate."""
    batch: int = 128
    """Blocks per optimizer step (the paper: 8 with 16 accumulation steps)."""
    adam_beta1: float = 0.9
    """First beta of AdamW."""
    adam_beta2: float = 0.98
    """Second beta of AdamW."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning-rate schedule over the whole training."""
    warmup_steps: int = 0
    """Steps of linear warm-up."""
    max_grad_norm: float = 1.0
    """The gradient is clipped to this norm."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of forward and backward passes. Master weights are always float32: at a learning rate of 1e-6,
    bfloat16 weights swallow the updates."""
    weights: Literal["float32", "bfloat16", "float16"] = "float32"
    """Form in which models are saved."""
    seed: int = 0
    """Order of the blocks."""


def steps_of_epochs(blocks: int, epochs: float, batch: int) -> int:
    """Optimizer steps of so many passes over the blocks, at least one."""
    return max(1, math.ceil(blocks * epochs / batch))


def split(batch: int, placement: Placement) -> tuple[int, int]:
    """How the ranks share the effective batch: blocks at a time on each, and how often, so that the product is exact.

    Raises BadInput where they cannot share it.
    """
    world = placement.ranks * placement.nodes
    if placement.nodes > 1 and not placement.rendezvous:
        raise BadInput(
            f"placement.nodes: expected placement.rendezvous, host:port of the first of {placement.nodes} machines, "
            "by which they find each other; found none"
        )
    if batch % world:
        raise BadInput(
            f"placement.ranks: expected a number of ranks that divides a batch of {batch} blocks, found {world} "
            f"({placement.ranks} on each of {placement.nodes} machines): take another batch, or another number of ranks"
        )
    share = batch // world
    micro = max(size for size in range(1, min(share, placement.micro_batch) + 1) if share % size == 0)
    return micro, share // micro
