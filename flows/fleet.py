"""How many GPUs the trainings of a job take, and what lies on each.

The card assumed is an H200. A model that fits one is replicated; one that does not is sharded over the ranks of one or
several machines of eight (`placement.sharded`), in which case only activations and the layers under way are whole.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from flows.job import Job
from tasks.engine.stage import Placement
from tasks.training.settings import split

GPU_BYTES = 139 * 2**30
ROOM = 0.9 * GPU_BYTES  # the rest is CUDA's own, and lost between allocations
GPUS_A_NODE = 8
MASTER_AND_ADAM = 16  # bytes a parameter: float32 weights, gradients and two moments
COMPUTE_COPIES = 2  # bytes a parameter: autocast keeps bf16 copies of the weights until the backward pass is done
BUCKETS = 4  # bytes a parameter: replicated ranks exchange gradients in buffers of their own
UNDER_WAY = 8  # bytes a parameter of a gathered layer: weights, gradients, and their float32 sum
LAYERS_AT_ONCE = 2  # the one that computes and the next, which is being gathered
ACTIVATIONS = 58  # bytes a token, layer and hidden unit: measured on transformers' Llama in bf16 without recomputation
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


@dataclass(frozen=True)
class Fleet:
    """The GPUs of a training: a placement, as far as memory depends on it."""

    ranks: int
    nodes: int
    sharded: bool
    micro: int

    @property
    def gpus(self) -> int:
        """All of them."""
        return self.ranks * self.nodes

    def settings(self) -> str:
        """The same as settings of a job."""
        told = [f"placement.ranks = {self.ranks}", f"placement.micro_batch = {self.micro}"]
        told += (
            [f"placement.nodes = {self.nodes}", 'placement.rendezvous = "FIRST_HOST:PORT"'] if self.nodes > 1 else []
        )
        told += ["placement.sharded = true"] if self.sharded else []
        return ", ".join(told)


def own_fleet(job: Job) -> Fleet:
    """The job's placement as it is."""
    placement = job.placement
    several = placement.ranks * placement.nodes > 1
    return Fleet(placement.ranks, placement.nodes, placement.sharded and several, placement.micro_batch)


def fleet_for(job: Job, size: Size) -> Fleet | None:
    """The job's own placement where its trainings fit, else the fewest GPUs on which they do. None: on no number."""
    return next((fleet for fleet in (own_fleet(job), *larger_fleets(job)) if fits(fleet, job, size)), None)


def larger_fleets(job: Job) -> Iterator[Fleet]:
    """One GPU, more of one machine, whole machines: as long as they can share both batches evenly."""
    shared = math.gcd(job.reinforce.batch, job.student.batch)
    one_machine = [gpus for gpus in (1, 2, 4) if gpus <= shared]
    for gpus in (*one_machine, *range(GPUS_A_NODE, shared + 1, GPUS_A_NODE)):
        micro = job.placement.micro_batch if shared % gpus == 0 else 0
        while micro:
            yield Fleet(min(gpus, GPUS_A_NODE), math.ceil(gpus / GPUS_A_NODE), gpus > 1, micro)
            micro //= 2


def fits(fleet: Fleet, job: Job, size: Size) -> bool:
    """Whether both trainings leave enough room on every GPU."""
    needed = (
        training_bytes(fleet, job.reinforce.batch, job.reinforce.length, size),
        training_bytes(fleet, job.student.batch, job.blocks.length, size),
    )
    return max(needed) <= ROOM


def training_bytes(fleet: Fleet, batch: int, length: int, size: Size) -> float:
    """Memory of each GPU in a training: what is held of the model, and what passes through."""
    placement = Placement(ranks=fleet.ranks, nodes=fleet.nodes, rendezvous="anywhere", micro_batch=fleet.micro)
    tokens = split(batch, placement)[0] * length
    passing = tokens * (size.layers * size.hidden * ACTIVATIONS + size.vocabulary * LOGITS)
    if not fleet.sharded:
        held = MASTER_AND_ADAM + COMPUTE_COPIES + (BUCKETS if fleet.gpus > 1 else 0)
        return held * size.parameters + passing
    ends = 2 * size.vocabulary * size.hidden  # embedding and output projection stay gathered for a whole pass
    layer = (size.parameters - ends) / max(1, size.layers)
    whole = UNDER_WAY * (LAYERS_AT_ONCE * layer + ends)
    return MASTER_AND_ADAM * size.parameters / fleet.gpus + whole + passing
