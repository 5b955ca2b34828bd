"""How many devices the trainings of a job take, and what lies on each.

A model that fits one is replicated; one that does not is sharded over the ranks of one or several machines of eight
(`placement.sharded`), in which case only activations and the layers under way are whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from flows.job import Job
from storage.errors import BadInput
from tasks.engine.stage import Placement
from tasks.training.settings import StudentSettings, Training, split

USABLE = 0.9  # of a device's memory; the rest is CUDA's own, and lost between allocations
GPU_BYTES = 139 * 2**30
PEAK_FLOPS = 989e12
TRAINING_EFFICIENCY, FORWARD_EFFICIENCY = 0.5, 0.6
GENERATION_EFFICIENCY = 0.01  # a token at a time reads all weights for little arithmetic
GPUS_A_NODE = 8
KEPT = {"float32": 12, "split": 8, "stochastic": 6}
"""Bytes a parameter by a training's `memory`: weights, two moments, and the other half of a split weight."""
GRADIENTS = {"float32": 4, "split": 2, "stochastic": 2}
FROZEN = 4  # bytes a parameter beside which adapters learn
COMPUTE_COPIES = 2  # bytes a parameter: autocast keeps bf16 copies of float32 weights until the backward pass is done
BUCKETS = 4  # bytes a parameter: replicated ranks exchange gradients in buffers of their own
UNDER_WAY = 8  # bytes a parameter of a gathered layer: weights, gradients, and their float32 sum
LAYERS_AT_ONCE = 2  # the one that computes and the next, which is being gathered
ACTIVATIONS = 58  # bytes a token, layer and hidden unit: measured on transformers' Llama in bf16 without recomputation
INPUTS = 2  # the same with it: a layer's inputs in bf16, and all of the one layer that is computed anew
LOGITS = 10  # bytes a token and entry of the vocabulary: bf16, float32, its gradient


@dataclass(frozen=True)
class Size:
    """What the estimates are made of."""

    parameters: int
    vocabulary: int
    hidden: int
    layers: int
    tokens: int
    """Tokens of the target corpus."""
    evaluated: int = 0
    """Tokens that an evaluation reads."""
    retained: int = 0
    """Tokens of the text to retain."""
    path: str = ""
    """Where the baseline lies."""
    half_step: float = 0.0
    """Half a step of bfloat16 at the baseline's median weight; 0 of weights that are not bfloat16."""


@dataclass(frozen=True)
class Card:
    """What computes: a card by its datasheet, or a device of this machine as it was measured."""

    name: str
    memory: float
    """Bytes."""
    training: float
    """FLOP/s that are reached; also below."""
    forward: float
    generation: float
    number: int | None = None
    """How many there are; None: as many as it takes."""
    is_gpu: bool = True
    start: float = 0.0
    """Seconds until a process is ready to load a model."""

    @property
    def room(self) -> float:
        """Bytes that models and what passes through them may take."""
        return USABLE * self.memory

    @classmethod
    def by_datasheet(cls, name: str, memory: float) -> "Card":
        """Dense bf16 FLOP/s at the efficiency that is usual."""
        shares = TRAINING_EFFICIENCY, FORWARD_EFFICIENCY, GENERATION_EFFICIENCY
        training, forward, generation = (PEAK_FLOPS * share for share in shares)
        return cls(name, memory, training, forward, generation)


H200 = Card.by_datasheet("H200 by its datasheet", GPU_BYTES)
CARDS = {"h200": H200, "h100": Card.by_datasheet("H100 by its datasheet", 79 * 2**30)}


def card_named(name: str) -> Card:
    """A card by its datasheet. Raises BadInput for one that is not known."""
    if name.lower() not in CARDS:
        raise BadInput(f"--card: expected {' or '.join(CARDS)}, found {name!r}; without it this machine is measured")
    return CARDS[name.lower()]


def settings_of(fleet: Placement) -> str:
    """A fleet as settings of a job."""
    settings = [f"placement.ranks = {fleet.ranks}", f"placement.micro_batch = {fleet.micro_batch}"]
    if fleet.nodes > 1:
        settings += [f"placement.nodes = {fleet.nodes}", f'placement.rendezvous = "{fleet.rendezvous}"']
    return ", ".join([*settings, *(["placement.sharded = true"] if fleet.sharded else [])])


def fleet_for(job: Job, size: Size, card: Card = H200) -> Placement | None:
    """The job's own placement where its trainings fit, else the fewest devices on which they do. None: on no number."""
    return next((fleet for fleet in (job.placement, *larger_fleets(job, card)) if fits(fleet, job, size, card)), None)


def larger_fleets(job: Job, card: Card) -> Iterator[Placement]:
    """One device, more of one machine, whole machines: as long as there are so many and they share both batches."""
    shared = math.gcd(job.reinforce.batch, job.student.batch)
    most = min(shared, card.number or shared) if job.reinforce.divisible and job.student.divisible else 1
    one_machine = [number for number in (1, 2, 4) if number <= most]
    for number in (*one_machine, *range(GPUS_A_NODE, most + 1, GPUS_A_NODE)):
        micro = job.placement.micro_batch if shared % number == 0 else 0
        shape = {"ranks": min(number, GPUS_A_NODE), "nodes": math.ceil(number / GPUS_A_NODE), "sharded": number > 1}
        while micro:
            yield job.placement.model_copy(update=shape | {"micro_batch": micro, "rendezvous": "FIRST_HOST:PORT"})
            micro //= 2


def fits(fleet: Placement, job: Job, size: Size, card: Card = H200) -> bool:
    """Whether both trainings leave enough room on every device."""
    needed = (
        training_bytes(fleet, job.reinforce, job.reinforce.length, size),
        training_bytes(fleet, job.student, job.blocks.length, size),
    )
    return max(needed) <= card.room


def kept_bytes(settings: Training) -> int:
    """Bytes a parameter that a training's checkpoint holds."""
    return FROZEN if settings.lora else KEPT[settings.memory]


def beside_bytes(settings: Training) -> float:
    """Bytes a parameter that a student holds besides itself: hardening's change and, meanwhile, its own weights; the
    directions of null_space and what each layer does there, where layers are square."""
    if not isinstance(settings, StudentSettings):
        return 0
    copies = 2 * (4 if settings.memory == "float32" else 2) if settings.hardening else 0
    return copies + 2 * 4 * settings.null_space


def training_bytes(fleet: Placement, settings: Training, length: int, size: Size) -> float:
    """Memory of each GPU in a training: what is held of the model, and what passes through."""
    shared = settings.batch % fleet.world == 0  # else it is a control, which `nepenthe gold` refuses, and no plan
    tokens = (split(settings, fleet.model_copy(update={"sharded": False}))[0] if shared else 1) * length
    held = kept_bytes(settings) + (0 if settings.lora else GRADIENTS[settings.memory]) + beside_bytes(settings)
    kept = ACTIVATIONS + INPUTS * size.layers if fleet.recompute else ACTIVATIONS * size.layers
    passing = tokens * (size.hidden * kept + size.vocabulary * LOGITS)
    if not fleet.sharded or fleet.world == 1:
        copies = COMPUTE_COPIES if settings.memory == "float32" or settings.lora else 0
        return (held + copies + (BUCKETS if fleet.world > 1 else 0)) * size.parameters + passing
    ends = 2 * size.vocabulary * size.hidden  # embedding and output projection stay gathered for a whole pass
    layer = (size.parameters - ends) / max(1, size.layers)
    whole = UNDER_WAY * (LAYERS_AT_ONCE * layer + ends)
    return held * size.parameters / fleet.world + whole + passing
