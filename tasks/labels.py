"""labels: the generic label of every position for the chosen alpha.

A look-up in the label curves, never a computation: no model is loaded, and the shards are read as they lie. Soft
labels, which the paper does not have, are computed from the kept candidates, also without a model.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.settings import Settings
from storage.shards import read_shard, shard_writer
from tasks.contents import EXAMPLES, NO_LABEL, SOFT_EXAMPLES, TRAINING, blocks_of
from tasks.engine.stage import Context, Counts, stage

SCHEMA = EXAMPLES.insert(0, pa.field("block_id", pa.int32()))
SOFT_SCHEMA = SOFT_EXAMPLES.insert(0, pa.field("block_id", pa.int32()))
LABEL = ("block_id", "position", "token")
CANDIDATES = ("ids", "baseline", "reinforced", "baseline_lse", "reinforced_lse")
MOST_MOVED = 0.5
"""Share of labels that equation 1 may move away from the baseline's own on the translated text, beyond which they are
noise: 0.1 to 0.3 where models forgot well, 0.9 where every logit had drifted (docs/LOG.md)."""
DRIFTED = (
    "{share:.0%} of the labels are no longer what the baseline predicts on the translated text, where a tenth to a "
    "third is usual: they would teach noise. Take {advice}a smaller labels.alpha or a gentler reinforcement"
)


class LabelSettings(Settings):
    """Which point of the label curves becomes the label."""

    alpha: float = Field(default=5.0, ge=0)
    """How strongly equation 1 pushes down what the reinforced model raises. 0 is anchored terms alone."""
    soft: float = Field(default=0.0, ge=0, le=1)
    """Share of each label that is v_generic as a whole distribution, over the kept candidates (logits.top); the rest is
    the hard label. The paper has 0. Hard labels sharpen the model, which costs ability; soft ones forget deeper at less
    cost (docs/LOG.md), and take 8 bytes a candidate and position on the disk."""


@stage("labels", version=1, protected=True)
def labels(context: Context, blocks: Artifact, logits: Artifact, settings: LabelSettings) -> Counts:
    """Write training.arrow: per block the original ids and the label of each position, -100 where it does not train.

    With soft labels also T * K `candidates` a block and the `shares` that they have in the label.
    """
    table = blocks_of(context.path(blocks))
    shards = sorted(context.path(logits).glob("label_curves-*.parquet"))
    equation = context.workspace.record(logits)["inputs"]["settings"]["equation"]
    labelled = changed = moved = 0
    with shard_writer(context.folder / TRAINING, SOFT_SCHEMA if settings.soft else SCHEMA) as write:
        for done, shard in enumerate(shards):
            curves = look_up(shard, settings.alpha)
            moved += int((curves["alpha_from"] > 0).sum())  # a token has one piece of the curve
            rows = rows_of(table, curves, shard)
            for row in softened(rows, curves, shard, settings, equation) if settings.soft else rows:
                write(row)
                labelled += int((row["labels"] != NO_LABEL).sum())
                following, column = row["input_ids"][1:], row["labels"][:-1]
                changed += int(((column != following) & (column != NO_LABEL)).sum())  # other than the text's next token
            context.progress(done + 1, len(shards))
    if labelled == 0:
        raise BadInput(
            "expected at least one position to train on, found none: is the corpus longer than a few tokens?"
        )
    counts: Counts = {"labels": labelled, "other_than_the_text": changed, "other_than_the_baseline": moved}
    return counts | remark_on(moved / labelled, equation)


def remark_on(share: float, equation: str) -> Counts:
    """What a person should know where equation 1 moves so large a share of the labels; nothing where it does not."""
    if share <= MOST_MOVED:
        return {}
    advice = 'logits.equation = "log_probabilities", which a drift of all logits does not touch, '
    return {"remark": DRIFTED.format(share=share, advice=advice if equation == "logits" else "")}


def look_up(shard: Path, alpha: float) -> dict[str, np.ndarray]:
    """block_id, position, token and alpha_from of a shard of label curves: one entry a labelled position, in its order.

    Rows lie by block and position, so nothing is sorted: a third of the time that a query with an order takes.
    """
    table = read_shard(shard, [*LABEL, "alpha_from", "alpha_to"])
    start, end = (table.column(name).to_numpy() for name in ("alpha_from", "alpha_to"))
    there = (start <= np.float32(alpha)) & (np.float32(alpha) < end)
    return {name: table.column(name).to_numpy()[there] for name in LABEL} | {"alpha_from": start[there]}


def rows_of(blocks: pa.Table, curves: dict[str, np.ndarray], shard: Path) -> Iterator[dict[str, Any]]:
    """A row of training.arrow for every block of the shard `label_curves-FIRST-END.parquet`."""
    first, end = (int(part) for part in shard.stem.split("-")[1:])
    edges = np.searchsorted(curves["block_id"], np.arange(first, end + 1))
    for block, start, stop in zip(range(first, end), edges[:-1], edges[1:], strict=True):
        ids = blocks.column("original_ids")[block].values.to_numpy()
        column = np.full(len(ids), NO_LABEL, dtype=np.int32)
        column[curves["position"][start:stop]] = curves["token"][start:stop]
        yield {"block_id": block, "input_ids": ids, "labels": column}


def softened(
    rows: Iterable[dict[str, Any]], curves: dict[str, np.ndarray], shard: Path, settings: LabelSettings, equation: str
) -> Iterator[dict[str, Any]]:
    """The rows with their labels as distributions; positions without a label have shares of 0."""
    candidates_RK, shares_RK = distributions(shard, curves["token"], settings, equation)
    first = 0
    for row in rows:
        places, whole = np.flatnonzero(row["labels"] != NO_LABEL), {}
        for name, kept_RK in (("candidates", candidates_RK), ("shares", shares_RK)):
            whole[name] = np.zeros((len(row["labels"]), kept_RK.shape[1]), kept_RK.dtype)
            whole[name][places] = kept_RK[first : first + len(places)]
        first += len(places)
        yield row | {name: values.reshape(-1) for name, values in whole.items()}


def distributions(
    shard: Path, labels_R: np.ndarray, settings: LabelSettings, equation: str
) -> tuple[np.ndarray, np.ndarray]:
    """(candidates_RK, shares_RK) of the labelled positions of a shard of label curves, in their order."""
    import torch

    from tasks.method.equation import generic_logits, log_probabilities, soft_labels

    table = read_shard(shard.with_name(shard.name.replace("label_curves", "logits")), ["reason", *CANDIDATES])
    table = table.filter(pc.is_null(table.column("reason")))
    ids_RK, b_RK, r_RK = (torch.from_numpy(matrix(table, name)) for name in ("ids", "baseline", "reinforced"))
    if equation == "log_probabilities":
        b_RK = log_probabilities(b_RK, torch.from_numpy(table.column("baseline_lse").to_numpy().copy()))
        r_RK = log_probabilities(r_RK, torch.from_numpy(table.column("reinforced_lse").to_numpy().copy()))
    v_RK = generic_logits(b_RK, r_RK, settings.alpha)
    ids_RK, shares_RK = soft_labels(ids_RK, v_RK, torch.from_numpy(labels_R.copy()), settings.soft)
    return ids_RK.numpy(), shares_RK.numpy()


def matrix(table: pa.Table, name: str) -> np.ndarray:
    """[R, K] of a column of lists that are all K long; K is 1 where there is no row."""
    values: np.ndarray = pc.list_flatten(table.column(name)).to_numpy().copy()  # torch wants what it may write to
    return values.reshape(len(table), len(values) // len(table) if len(table) else 1)
