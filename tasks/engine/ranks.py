"""Ranks: processes, one a GPU, that do one work together, started and watched by torch's elastic agent as torchrun
does it. A rank dies with its launcher, and never imports Prefect.

The ranks of a training share its batches (tasks/training/ranks.py), those of a stage that only reads its models share
their weights (tasks/engine/process.py).
"""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage import errors
from storage.errors import BadInput, ChildDied, NepentheError
from tasks.engine.stage import Placement

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

PR_SET_PDEATHSIG = 1
PATIENCE = timedelta(minutes=30)  # for ranks that wait while the first writes a large model
MEETING_SECONDS = 600  # for the other machines to come


@contextmanager
def folder_of_ranks(folder: Path, part: str = "") -> Iterator[Path]:
    """Where the ranks that work on an unfinished artifact find and leave what is theirs; gone afterwards, and no part
    of the artifact where they are killed and others finish it."""
    ranks = folder / f".ranks{part}.tmp"
    shutil.rmtree(ranks, ignore_errors=True)  # of an attempt that was killed
    ranks.mkdir()
    try:
        yield ranks
    finally:
        shutil.rmtree(ranks)


def launch(placement: Placement, folder: Path, module: str, first: bool = True) -> None:
    """Start this machine's ranks, `python -m MODULE rank ...`, and wait for their end. One that fails takes the others
    with it. Raises what a rank raised, or ChildDied for one that died.

    `first`: whether the machines meet here.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=placement.nodes,
        max_nodes=placement.nodes,
        nproc_per_node=placement.ranks,
        run_id="nepenthe",
        rdzv_backend="c10d",
        rdzv_endpoint=placement.rendezvous if placement.nodes > 1 else "localhost:0",
        rdzv_configs={"is_host": first, "join_timeout": MEETING_SECONDS},
        local_addr=_own_address(placement) if first else None,
        max_restarts=0,  # the stage's own retries go on from the last checkpoint
        signals_to_handle="SIGUSR2",  # the others stay ours: Ctrl-C means what it did
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
    )
    command = ("-m", module, "rank", str(os.getpid()), str(folder), placement.device)
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        raise _cause(error) from None


def _own_address(placement: Placement) -> str:
    return placement.rendezvous.rpartition(":")[0] if placement.nodes > 1 else "localhost"


def _cause(error: "ChildFailedError") -> Exception:
    """What the first rank that failed by itself said; the others only saw it go."""
    import torch

    said = {number: _said(failure) for number, failure in error.failures.items()}
    for words in said.values():
        name, _, sentence = words.partition(": ")
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, NepentheError):
            return kind(sentence)
        if name == torch.OutOfMemoryError.__name__:
            return torch.OutOfMemoryError(sentence)
    number, failure = error.get_first_failure()
    return ChildDied(f"rank {number} ended with exit code {failure.exitcode}: {said[number]}")


def _said(failure: "ProcessFailure") -> str:
    """The rank's exception as `Class: message`, or torch's words for a rank that left none."""
    said: Any = failure.message
    return str(said["message"] if isinstance(said, dict) else said)


def as_rank(work: Callable[[Path], None], parent: str, folder: str, device: str) -> None:
    """A rank's side: be one of a group of processes, work, and leave. What goes wrong is left for the launcher."""
    die_with(int(parent))
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_in_group)(work, Path(folder))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries that outlive the work have aborted a finished rank in the interpreter's teardown


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the request above


def _in_group(work: Callable[[Path], None], folder: Path) -> None:
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        _own_gpu(torch, int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(timeout=PATIENCE)  # gloo between CPUs, nccl between GPUs
    work(folder)
    dist.barrier()
    dist.destroy_process_group()


def _own_gpu(torch: Any, number: int) -> None:
    devices, ranks = torch.cuda.device_count(), os.environ["LOCAL_WORLD_SIZE"]
    if number >= devices:
        raise BadInput(f"placement.ranks: expected a GPU for each of {ranks} ranks on this machine, found {devices}")
    torch.cuda.set_device(number)
