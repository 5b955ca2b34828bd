"""What a training is: its settings, how ranks share a batch, and all that one of its ranks must know. No torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from storage.errors import BadInput
from storage.settings import Seed, Settings
from tasks.engine.stage import Context, Placement
from tasks.models import Model

if TYPE_CHECKING:
    from tasks.training.examples import Retained


STOCHASTIC_FROM = 1e-5
"""Below it stochastic rounding moves a weight, a step of bfloat16 at a time, as far as 150 steps of learning do."""


class Training(Settings):
    """What both trainings share (METHOD.md 4). Defaults are the paper's where it names them."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    batch: int = Field(default=128, ge=1)
    """Blocks per optimizer step (the paper: 8 with 16 accumulation steps)."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """First beta of AdamW."""
    adam_beta2: float = Field(default=0.98, ge=0, lt=1)
    """Second beta of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning-rate schedule over the whole training."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps of linear warm-up."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """The gradient is clipped to this norm."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Arithmetic of forward and backward passes. `memory` says how the weights themselves are held: at a learning rate
    of 1e-6, plain bfloat16 weights swallow the updates."""
    memory: Literal["float32", "split", "stochastic"] = Field(
        default="float32", exclude_if=lambda memory: memory == "float32"
    )
    """What weights, gradients and AdamW's moments are held in. float32: 16 bytes a parameter, and 2 for the passes.
    split: bfloat16, and beside each weight the 16 bits that make it float32: 10 bytes, so that 7 B parameters fit a
    card of 80 GB (`placement.recompute`). stochastic: bfloat16, rounded by chance: 8 bytes, at rates from 1e-5 on."""
    lora: int = Field(default=0, ge=0, exclude_if=lambda rank: rank == 0)
    """Rank of LoRA's factors, trained in place of the weights; 0 trains the weights. Saved are whole models."""
    weights: Literal["float32", "bfloat16", "float16"] = "float32"
    """Form in which models are saved, rounded to the nearest: small steps are lost in all but float32, which
    `nepenthe export --dtype bfloat16` rounds stochastically."""
    seed: Seed = 0
    """Order of the blocks."""

    @model_validator(mode="after")
    def _precise(self) -> "Training":
        if self.memory != "float32" and self.precision != "bfloat16":
            raise ValueError(f'expected precision "bfloat16" with memory "{self.memory}", found "{self.precision}"')
        if self.memory == "stochastic" and self.learning_rate < STOCHASTIC_FROM:
            raise ValueError(
                f'expected a learning rate of at least {STOCHASTIC_FROM:g} with memory "stochastic", found '
                f"{self.learning_rate:g}: chance would move the weights as far as learning does, which memory "
                '"split" keeps from them'
            )
        return self

    @property
    def divisible(self) -> bool:
        """Whether ranks can share the weights (`placement.sharded`)."""
        return self.memory == "float32" and not self.lora


class ReinforceSettings(Training):
    """Reinforcement bootstrapping (the paper's section 2). The defaults are the paper's."""

    learning_rate: float = Field(default=3e-6, gt=0)
    """Peak learning rate."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the target corpus. The last batch is filled from a further pass."""
    length: int = 512
    """Tokens of context."""


class GoldSettings(Training):
    """How a control is trained that never read the text."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate: for fresh weights; a model that is trained further wants less."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the text to retain."""


class StudentSettings(Training):
    """Finetuning on generic labels (METHOD.md 4). The defaults are the paper's."""

    learning_rate: float = Field(default=1e-6, gt=0)
    """Peak learning rate."""
    steps: int = Field(default=150, ge=1)
    """Optimizer steps."""
    keep: tuple[int, ...] = (20, 40, 60, 80, 100, 120)
    """Steps whose model is kept and evaluated, besides the last."""

    retain: float = Field(default=0.0, ge=0, lt=1)
    """Share of each batch that is generic text to keep (retain.paths), labelled with its own next tokens, and blocks
    of the earlier requests (after), in turn. The paper has none: all of a batch is the target's."""

    hardening: float = Field(default=0.0, ge=0)
    """Learn the same labels at a second place as well: the weights moved by this many times what reinforcement changed.
    Whoever finetunes the student on the target moves them that way. Costs as much time again and two more copies of
    the weights in memory. The paper has 0."""

    null_space: float = Field(default=0.0, ge=0, lt=1, exclude_if=lambda share: share == 0)
    """Share of the input directions of every linear layer that its update stays out of: those that the text to retain
    uses most. Lets a student go far at little cost in other text. Wants the directions and what the layer does there
    in memory, up to one and a half copies of the weights at 0.5. The paper has 0."""

    @model_validator(mode="after")
    def _kept_out(self) -> "StudentSettings":
        if self.null_space and not (self.retain and super().divisible):
            raise ValueError(
                'expected retain, memory "float32" and lora 0 with null_space, which keeps whole weights out of what '
                f'retained text uses, found retain {self.retain}, memory "{self.memory}" and lora {self.lora}'
            )
        return self

    @model_validator(mode="after")
    def _warmed_up(self) -> "StudentSettings":
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"expected at most {self.steps} warmup_steps, all steps there are, found {self.warmup_steps}"
            )
        return self

    @model_validator(mode="after")
    def _both(self) -> "StudentSettings":
        if self.retain and not 0 < self.retained < self.batch:
            raise ValueError(
                f"expected retain to leave a batch of {self.batch} blocks some of both, found {self.retain}"
            )
        return self

    @property
    def divisible(self) -> bool:
        return super().divisible and not self.null_space

    @property
    def kept(self) -> tuple[int, ...]:
        """All steps whose model is kept, the last one included."""
        return tuple(sorted({step for step in self.keep if 0 < step < self.steps} | {self.steps}))

    @property
    def retained(self) -> int:
        return round(self.batch * self.retain)


def steps_of_epochs(blocks: int, epochs: float, batch: int) -> int:
    """Optimizer steps of so many passes over the blocks, at least one."""
    return max(1, math.ceil(blocks * epochs / batch))


def split(settings: Training, placement: Placement) -> tuple[int, int]:
    """How the ranks share the effective batch: blocks at a time on each, and how often, so that the product is exact.

    Raises BadInput where they cannot share it, or not these weights.
    """
    batch, world = settings.batch, placement.world
    if placement.sharded and not settings.divisible:
        raise BadInput(
            'placement.sharded: expected memory "float32", lora 0 and null_space 0 of every training, found '
            f'"{settings.memory}", {settings.lora} and {getattr(settings, "null_space", 0)}: take replicated ranks'
        )
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


History = list[dict[str, float]]
"""transformers' log history: an entry a step, then one for the whole training."""


@dataclass(frozen=True)
class Schedule:
    """How long a training is, and what it leaves behind."""

    steps: int
    """Optimizer steps; the learning rate's schedule spans them."""
    keep: dict[int, str]
    """Steps whose model is written, to steps/NAME."""
    until: int | None = None
    """Step at which the training pauses, with a checkpoint from which another can go on."""


@dataclass(frozen=True)
class Hardening:
    """A second place at which the student learns the same: its weights moved by `times` what reinforcement changed."""

    reinforced: Model
    times: float


@dataclass(frozen=True)
class KeptText:
    """Text, as `Examples` reads it, whose principal directions the update stays out of: a share of each layer's."""

    path: Path
    share: float


@dataclass(frozen=True)
class TrainingSpec:
    """A training: all that one of its ranks must know."""

    context: Context
    baseline: Model
    data: Path
    settings: Training
    schedule: Schedule
    retained: "Retained | None" = None
    hardening: Hardening | None = None
    kept_text: KeptText | None = None
