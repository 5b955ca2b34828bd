"""labels: the generic label of every position for the chosen alpha.

A look-up in the label curves, never a computation: no model is loaded, and DuckDB reads the shards as they lie.
"""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.settings import Settings
from storage.tables import read_shard, shard_writer
from tasks.blocks import BLOCKS
from tasks.stage import Counts, Work, stage

TRAINING = "training.arrow"
NO_LABEL = -100
SCHEMA = pa.schema([("block_id", pa.int32()), ("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
LOOK_UP = """
SELECT block_id, position, token FROM read_parquet(?)
WHERE alpha_from <= ?::FLOAT AND ?::FLOAT < alpha_to ORDER BY block_id, position
"""


class LabelSettings(Settings):
    """Which point of the label curves becomes the label."""

    alpha: float = Field(default=5.0, ge=0)
    """How strongly equation 1 pushes down what the reinforced model raises. 0 is anchored terms alone."""


@stage("labels", version=1, protected=True)
def labels(work: Work, blocks: Artifact, logits: Artifact, settings: LabelSettings) -> Counts:
    """Write training.arrow: per block the original ids and the label of each position, -100 where it does not train."""
    table = read_shard(work.path(blocks) / BLOCKS)
    shards = sorted(work.path(logits).glob("label_curves-*.parquet"))
    labelled = changed = 0
    with shard_writer(work.folder / TRAINING, SCHEMA) as write:
        for done, shard in enumerate(shards):
            found = look_up(shard, settings.alpha)
            for row in rows_of(table, found, shard):
                write(row)
                labelled += int((row["labels"] != NO_LABEL).sum())
                changed += int(_differs(row))
            work.progress(done + 1, len(shards))
    if labelled == 0:
        raise BadInput(
            "expected at least one position to train on, found none: is the corpus longer than a few tokens?"
        )
    return {"labels": labelled, "other_than_the_text": changed}


def look_up(shard: Path, alpha: float) -> dict[str, np.ndarray]:
    """block_id, position and token (one entry a labelled position) of one shard of label curves."""
    with duckdb.connect() as connection:
        found: dict[str, np.ndarray] = connection.execute(LOOK_UP, [str(shard), alpha, alpha]).fetchnumpy()
    return found


def rows_of(blocks: pa.Table, found: dict[str, np.ndarray], shard: Path) -> Any:
    """A row of training.arrow for every block of the shard `label_curves-FIRST-END.parquet`."""
    first, end = (int(part) for part in shard.stem.split("-")[1:])
    edges = np.searchsorted(found["block_id"], np.arange(first, end + 1))
    for block, start, stop in zip(range(first, end), edges[:-1], edges[1:], strict=True):
        ids = blocks.column("original_ids")[block].values.to_numpy()
        column = np.full(len(ids), NO_LABEL, dtype=np.int32)
        column[found["position"][start:stop]] = found["token"][start:stop]
        yield {"block_id": block, "input_ids": ids, "labels": column}


def _differs(row: dict[str, Any]) -> int:
    """Positions whose generic label is not the token that stands next in the text."""
    ids, column = row["input_ids"][1:], row["labels"][:-1]
    return int(((column != ids) & (column != NO_LABEL)).sum())
