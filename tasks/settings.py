"""Settings that two stages share."""

from typing import Literal

from storage.settings import Settings


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
