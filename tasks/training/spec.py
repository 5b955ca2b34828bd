"""A training in words: what is learned from, for how long, and what is left behind. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from tasks.engine.stage import Context
from tasks.models import Model
from tasks.training.settings import Training

History = list[dict[str, float]]
"""transformers' log history: an entry a step, then one for the whole training."""


@dataclass(frozen=True)
class Retained:
    """Text that is retained: a file as `Examples` reads it, and how many blocks of each batch come from it."""

    path: Path
    batch: int
    blocks: int


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
class TrainingSpec:
    """A training: all that one of its ranks must know."""

    context: Context
    baseline: Model
    data: Path
    settings: Training
    schedule: Schedule
    retained: Retained | None = None
    hardening: Hardening | None = None
