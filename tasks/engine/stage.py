"""A stage: a function from artifacts to an artifact.

The body's arguments are its identity: artifacts, models and files count by fingerprint, settings by value. What only
says where and how fast the work is done (`Placement`) reaches the body through `Context` and never the fingerprint.
"""

import inspect
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from threading import Event
from typing import Any, Literal

from pydantic import Field

from storage.artifact import Artifact, Json, fingerprint
from storage.errors import BadInput
from storage.machine import hardware
from storage.settings import Settings
from storage.shards import write_shard
from storage.workspace import Workspace

Counts = dict[str, Json]


class Placement(Settings):
    """Where and how the work is done. Never part of a fingerprint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for the models; auto takes a GPU where there is one."""
    isolation: Literal["process", "inline"] = "process"
    """process: heavy stages run in a child, so that a crash or an out-of-memory takes down one shard, not the flow."""
    workers: int = Field(default=1, ge=1)
    """Heavy stages that do not need each other (evaluations), and parts of one stage (shards of logits), run this many
    at a time."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of each heavy process; by default what torch finds. Two processes with two threads each crawl on two
    cores."""
    micro_batch: int = Field(default=8, ge=1)
    """Blocks per forward pass and device; the effective batch of a training does not depend on it."""
    checkpoint_seconds: float = Field(default=600.0, ge=0)
    """Seconds of training between two checkpoints; a killed training loses at most these."""
    retries: int = Field(default=2, ge=0)
    """How often a heavy stage whose child died is started again; it goes on from its last shard or checkpoint."""
    deployment: str = ""
    """Prefect deployment whose workers make the heavy stages ("stage/gpu"); by default this machine does."""
    ray: str = ""
    """Address of a Ray cluster on which heavy stages and their parts run ("local" starts one here)."""
    gpus: float = Field(default=0, ge=0)
    """GPUs that Ray gives to each heavy stage or part; workers then see only theirs."""
    ranks: int = Field(default=1, ge=1)
    """Processes, one a GPU, of a training on each machine, started as torchrun does."""
    nodes: int = Field(default=1, ge=1)
    """Machines that a training spans."""
    rendezvous: str = ""
    """host:port of the first machine, where a training spans several."""
    sharded: bool = False
    """Models divided over the ranks, for those that do not fit one GPU: parameters, gradients and optimizer of a
    training (FSDP2), and the weights of what only reads them, over one machine's ranks (tensor parallelism)."""
    recompute: bool = False
    """Gradient checkpointing: a training keeps a layer's inputs alone and computes the layer anew in the backward pass,
    a third more arithmetic for a small part of the memory that passes through."""

    @property
    def world(self) -> int:
        """Processes of a training, over all machines."""
        return self.ranks * self.nodes

    @property
    def known_device(self) -> str:
        """cpu or cuda; auto is what this machine has, unless Ray is asked for GPUs."""
        if self.device != "auto":
            return self.device
        return "cuda" if self.gpus or gpu_here() else "cpu"

    def precision(self, asked: str) -> str:
        """The precision that a setting asks for; auto is by device."""
        by_device = "bfloat16" if self.known_device == "cuda" else "float32"
        return by_device if asked == "auto" else asked


@cache
def gpu_here() -> bool:
    """Whether torch finds a GPU; it is loaded, which takes seconds, only where the system has one."""
    if not hardware()["gpus"]:
        return False
    import torch

    return torch.cuda.is_available()


def pick_device(device: str) -> str:
    """`auto` becomes the GPU where there is one. Raises BadInput for a GPU that torch does not find."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            'expected a GPU for placement.device = "cuda", found none that this torch can use: take "cpu" or "auto", '
            "or a placement whose workers have one (nepenthe plan --card for one that is elsewhere)"
        )
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


_dividing = Event()
divide_models, models_are_divided = _dividing.set, _dividing.is_set
"""Make this process a rank that holds its share of every model; whether it is one."""

WHOLE = (0, 1)
"""The part of a stage that is all of it."""


def nobody(_done: float, _total: float) -> None:
    """Who is told of the progress where nobody wants to know. No lambda: ranks get it pickled."""


@dataclass
class Context:
    """What a body is given besides its inputs."""

    folder: Path
    """Where to write. Finished parts of an earlier, interrupted attempt are still there."""
    workspace: Workspace
    artifact: Artifact
    placement: Placement
    part: tuple[int, int] = WHOLE
    """(i, n): of the shards make only every n-th from the i-th on. What is left undone, or all of it,
    is made with WHOLE."""
    progress: Callable[[float, float], None] = nobody
    """Say how far the stage is, done and total, in any unit. Cheap to call often."""

    def path(self, artifact: Artifact) -> Path:
        return self.workspace.path(artifact)

    def checkpoint(self, finished: Path) -> None:
        """Say that a shard, a checkpoint or a model of this folder is whole: from now on another machine can go on."""
        self.workspace.keep(self.artifact, finished)

    def log_cost(self, shard: str, tokens: int, seconds: float) -> None:
        """A row of the table `metrics`: what a shard, or a training, cost; GPU memory at its peak since the last."""
        device, memory = _device()
        row = {
            "stage": self.artifact.kind,
            "shard": shard,
            "tokens": tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
            "gpu_memory_bytes": memory,
            "host": socket.gethostname(),
            "device": device,
            "batch": self.placement.micro_batch,
        }
        path = self.folder / f"metrics-{shard}.parquet"
        write_shard(path, [row])
        self.checkpoint(path)


@dataclass(frozen=True)
class Stage:
    """A kind of artifact and the function that makes it. Raise `version` when the meaning of the output changes."""

    kind: str
    version: int
    body: Callable[..., Counts]
    heavy: bool = False
    """Loads a model, or works for long: runs in a child where the placement says so."""
    shards: Callable[..., int] | None = None
    """How many shards it comes to, of the workspace and its inputs by name: many workers make them in parts
    (`Context.part`). None for what cannot be divided."""
    reads: bool = False
    """Only reads its models, which can be divided over ranks (`placement.sharded`)."""
    protected: bool = False
    """What it makes holds the text to forget, or gives it back; `nepenthe purge` removes it."""

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.body)

    @property
    def types(self) -> dict[str, Any]:
        """The types of the body's arguments by name, without the leading context."""
        return {name: argument.annotation for name, argument in list(self._signature.parameters.items())[1:]}

    def inputs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The body's arguments by name, defaults included, without the leading context.

        One that is given by keyword alone counts where it is given: a stage can gain such and keep its addresses.
        """
        bound = self._signature.bind(None, *args, **kwargs)
        late = [argument for argument in self._signature.parameters.values() if argument.kind is argument.KEYWORD_ONLY]
        bound.apply_defaults()
        absent = {argument.name for argument in late if bound.arguments[argument.name] == argument.default}
        return {name: value for name, value in list(bound.arguments.items())[1:] if name not in absent}

    def title(self, inputs: dict[str, Any]) -> str:
        """For people: the kind, and the model that it is about where the inputs say, as in `relearning student 16`."""
        known = inputs | dict(inputs.get("suspect") or {})
        about = [known.get(name) for name in ("role", "step", "source")]
        return " ".join([self.kind, *(str(fact) for fact in about if fact is not None)])

    def artifact(self, name: str, inputs: dict[str, Any]) -> Artifact:
        """The address of what the body makes from these inputs, made already or not."""
        return Artifact(self.kind, name, fingerprint(self.kind, self.version, inputs))


def stage(
    kind: str,
    *,
    version: int,
    heavy: bool = False,
    shards: Callable[..., int] | None = None,
    reads: bool = False,
    protected: bool = False,
) -> Callable[[Callable[..., Counts]], Stage]:
    """Make a stage of a function `body(context, ...inputs) -> counts`."""
    return lambda body: Stage(kind, version, body, heavy, shards, reads, protected)


def _device() -> tuple[str, int | None]:
    torch: Any = sys.modules.get("torch")  # whoever has not loaded it has used no GPU
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return "cpu", None
    memory = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.get_device_name(), memory
