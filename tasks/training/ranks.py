"""The ranks of a training: one process a GPU, started and watched by torch's elastic agent, as torchrun does it.

On one machine `train` is all there is. Where a training spans several, one of them makes the artifact, and each of
the others runs

    python -m tasks.training.ranks join HOST:PORT NODES RANKS

which waits for trainings of that rendezvous and lends its ranks to one after the other, until it is ended. All machines
must see the workspace under the same path. A rank dies with its launcher, and never imports Prefect.
"""

import json
import os
import pickle
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage import errors
from storage.errors import BadInput, ChildDied, NepentheError
from tasks.engine.process import die_with
from tasks.engine.stage import Placement
from tasks.training.settings import History, TrainingSpec, split

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

SPEC, HISTORY = "spec.pickle", "history.json"
PATIENCE = timedelta(minutes=30)  # for ranks that wait while the first writes a large model
MEETING_SECONDS = 600  # for the other machines to come
PAUSE_SECONDS = 1.0


def train(spec: TrainingSpec) -> History:
    """Finetune the baseline, in this process or on the ranks that the placement asks for. Returns the log history.

    Goes on from the last whole checkpoint in the context's folder. Raises TrainingDiverged before an optimizer step on
    a loss or gradient that is not finite, BadInput for ranks that cannot share the batch.
    """
    placement = spec.context.placement
    split(spec.settings, placement)
    if placement.world > 1:
        return in_ranks(spec)
    from tasks.training.trainer import train_on_rank

    return train_on_rank(spec)


def in_ranks(spec: TrainingSpec) -> History:
    """Train on the ranks of its placement. Raises what a rank raised, or ChildDied for one that died."""
    folder = spec.context.folder / "ranks"
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    folder.mkdir()
    try:
        (folder / SPEC).write_bytes(pickle.dumps(spec))
        launch(spec.context.placement, folder)
        history: History = json.loads((folder / HISTORY).read_text())
    finally:
        shutil.rmtree(folder)
    return history


def launch(placement: Placement, folder: Path, first: bool = True) -> None:
    """Start this machine's ranks and wait for their end. One that fails takes the others with it.

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
        rdzv_endpoint=placement.rendezvous or "localhost:0",
        rdzv_configs={"is_host": first, "join_timeout": MEETING_SECONDS},
        local_addr=(placement.rendezvous.rpartition(":")[0] or "localhost") if first else None,
        max_restarts=0,  # the stage's own retries go on from the last checkpoint
        signals_to_handle="SIGUSR2",  # the others stay ours: Ctrl-C means what it did
        logs_specs=DefaultLogsSpecs(log_dir=str(folder)),
    )
    command = ("-m", "tasks.training.ranks", "rank", str(os.getpid()), str(folder), placement.device)
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        raise _cause(error) from None


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
    return ChildDied(f"rank {number} of the training ended with exit code {failure.exitcode}: {said[number]}")


def _said(failure: "ProcessFailure") -> str:
    """The rank's exception as `Class: message`, or torch's words for a rank that left none."""
    said: Any = failure.message
    return str(said["message"] if isinstance(said, dict) else said)


def join(rendezvous: str, nodes: int, ranks: int) -> None:
    """Lend this machine's ranks to every training of the rendezvous, until this process is ended."""
    placement = Placement(ranks=ranks, nodes=nodes, rendezvous=rendezvous)
    while True:
        with tempfile.TemporaryDirectory(prefix="nepenthe-ranks-") as folder:
            try:
                launch(placement, Path(folder), first=False)
            except Exception as error:  # nobody is there yet, or a training failed: the next one may not
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(PAUSE_SECONDS)


def rank(parent: str, folder: str, device: str) -> None:
    """A rank's side."""
    die_with(int(parent))
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_train_rank)(Path(folder))  # leaves its error for the launcher
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of libraries that outlive the work have aborted a finished rank in the interpreter's teardown


def _train_rank(folder: Path) -> None:
    import torch
    import torch.distributed as dist

    from tasks.training.trainer import train_on_rank

    number = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        _own_gpu(torch, number)
    dist.init_process_group(timeout=PATIENCE)  # gloo between CPUs, nccl between GPUs
    history = train_on_rank(_shared(folder / SPEC))
    if number == 0:
        (folder / HISTORY).write_text(json.dumps(history))
    dist.barrier()
    dist.destroy_process_group()


def _own_gpu(torch: Any, number: int) -> None:
    devices, ranks = torch.cuda.device_count(), os.environ["LOCAL_WORLD_SIZE"]
    if number >= devices:
        raise BadInput(f"placement.ranks: expected a GPU for each of {ranks} ranks on this machine, found {devices}")
    torch.cuda.set_device(number)


def _shared(written: Path) -> TrainingSpec:
    """The spec, from whichever rank's launcher wrote it down."""
    import torch.distributed as dist

    specs: list[bytes | None] = [None] * dist.get_world_size()
    dist.all_gather_object(specs, written.read_bytes() if written.exists() else None)
    spec: TrainingSpec = pickle.loads(next(filter(None, specs)))
    if not spec.data.exists():
        raise BadInput(
            f"expected {spec.data} on every machine of the training, found none on {os.uname().nodename}: "
            "put the workspace on a file system that all of them see"
        )
    return spec


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rank", parent, folder, device]:
            rank(parent, folder, device)
        case ["join", rendezvous, nodes, ranks]:
            join(rendezvous, int(nodes), int(ranks))
        case _:
            sys.exit("usage: python -m tasks.training.ranks join HOST:PORT NODES RANKS")
