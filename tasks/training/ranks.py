"""The ranks of a training: one process a GPU, each with a share of every batch.

On one machine `train` is all there is. Where a training spans several, one of them makes the artifact, and each of
the others runs

    python -m tasks.training.ranks join HOST:PORT NODES RANKS

which waits for trainings of that rendezvous and lends its ranks to one after the other, until it is ended. All machines
must see the workspace under the same path.
"""

import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

from storage.errors import BadInput
from tasks.engine.ranks import as_rank, folder_of_ranks, launch
from tasks.engine.stage import Placement
from tasks.training.settings import History, TrainingSpec, split

MODULE = "tasks.training.ranks"  # which may be running as __main__
SPEC, HISTORY = "spec.pickle", "history.json"
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
    with folder_of_ranks(spec.context.folder) as folder:
        (folder / SPEC).write_bytes(pickle.dumps(spec))
        launch(spec.context.placement, folder, MODULE)
        history: History = json.loads((folder / HISTORY).read_text())
    return history


def join(rendezvous: str, nodes: int, ranks: int) -> None:
    """Lend this machine's ranks to every training of the rendezvous, until this process is ended."""
    placement = Placement(ranks=ranks, nodes=nodes, rendezvous=rendezvous)
    while True:
        with tempfile.TemporaryDirectory(prefix="nepenthe-ranks-") as folder:
            try:
                launch(placement, Path(folder), MODULE, first=False)
            except Exception as error:  # nobody is there yet, or a training failed: the next one may not
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(PAUSE_SECONDS)


def train_rank(folder: Path) -> None:
    """A rank's share of the training whose spec lies in the folder of one of the launchers."""
    from tasks.training.trainer import train_on_rank

    history = train_on_rank(_shared(folder / SPEC))
    if os.environ["LOCAL_RANK"] == "0":
        (folder / HISTORY).write_text(json.dumps(history))


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
        case ["rank", *started]:
            as_rank(train_rank, *started)
        case ["join", rendezvous, nodes, ranks]:
            join(rendezvous, int(nodes), int(ranks))
        case _:
            sys.exit("usage: python -m tasks.training.ranks join HOST:PORT NODES RANKS")
