"""logits: both models on the same block, and from their rows the exact label curve over alpha.

Full rows exist for a chunk of positions only; what stays is the curve (about 6 bytes a position) and a short top-k
for people.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.schemas import TABLES
from storage.settings import Settings
from storage.shards import write_shard
from tasks.contents import blocks_of
from tasks.engine.stage import Context, Counts, Placement, stage
from tasks.models import Model, load_model, tokenizer_size

CHUNK_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Elements of one model's full rows held at a time: 32 MiB on the CPU, 512 MiB on a GPU, in float32."""


class LogitsSettings(Settings):
    """How both models' rows are computed and what is kept of them."""

    top: int = Field(default=16, ge=1)
    """Candidates kept a position, for people to look at; the label curve is exact whatever this is."""
    equation: Literal["logits", "log_probabilities"] = "logits"
    """What equation 1 works on. The paper: raw logits. The two give other labels."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the forward passes; rows are always projected in float32. auto: bfloat16 on a GPU, where it is
    several times faster (METHOD.md 2 has what it changes), float32 on the CPU."""
    shard_blocks: int = Field(default=64, ge=1)
    """Blocks a shard: what a killed run loses at most, and what one worker does at a time."""

    def on(self, placement: Placement) -> "LogitsSettings":
        """The same, with the precision that auto comes to there: it is a part of what is made."""
        return self.model_copy(update={"precision": placement.precision(self.precision)})


@stage("logits", version=1, heavy=True, divisible=True, protected=True)
def logits(context: Context, blocks: Artifact, baseline: Model, reinforced: Model, settings: LogitsSettings) -> Counts:
    """Write `label_curves` and `logits` shards, each done on its own; those of an earlier attempt are kept."""
    table = blocks_of(context.path(blocks))
    number, parts = context.part
    shards = list(shards_of(len(table), settings.shard_blocks))[number::parts]
    missing = [shard for shard in shards if not shard_path(context.folder, "logits", *shard).exists()]
    rows = Rows(context, baseline, reinforced, settings) if missing else None
    for first, end in missing:
        assert rows is not None  # made where a shard is missing
        write_rows(context, rows, table, first, end)
    return counts_of(context.folder)


def shards_of(blocks: int, size: int) -> Iterator[tuple[int, int]]:
    """(first block, end) of every shard."""
    for first in range(0, blocks, size):
        yield first, min(first + size, blocks)


def shard_path(folder: Path, table: str, first: int, end: int) -> Path:
    """Where the shard of blocks first..end-1 lies."""
    return folder / f"{table}-{first:08d}-{end:08d}.parquet"


def write_rows(context: Context, rows: "Rows", table: pa.Table, first: int, end: int) -> None:
    """Compute and write one shard. The logits file comes last: where it is, the shard is whole."""
    curves: list[pa.RecordBatch] = []
    positions: list[pa.RecordBatch] = []
    size, started = context.placement.micro_batch, time.monotonic()
    for start in range(first, end, size):
        batch = table.slice(start, min(size, end - start)).to_pylist()
        for curve, candidates in rows.of(batch):
            curves.append(curve)
            positions.append(candidates)
        context.progress(min(start + size, end), len(table))
    tokens = sum(batch.num_rows for batch in positions)
    context.log_cost(f"{first:08d}-{end:08d}", tokens, time.monotonic() - started)
    for name, batches in (("label_curves", curves), ("logits", positions)):
        path = shard_path(context.folder, name, first, end)
        write_shard(path, pa.Table.from_batches(batches, TABLES[name].schema))
        context.checkpoint(path)


def counts_of(folder: Path) -> Counts:
    """Positions and vertices of all shards, from the files' own footers."""
    import pyarrow.parquet as pq

    positions, vertices = (
        sum(pq.read_metadata(path).num_rows for path in folder.glob(f"{table}-*.parquet"))
        for table in ("logits", "label_curves")
    )
    return {"positions": positions, "vertices": vertices}


class Rows:
    """Both models in memory, and what becomes of a block's rows."""

    def __init__(self, context: Context, baseline: Model, reinforced: Model, settings: LogitsSettings) -> None:
        import torch

        from tasks.method.projection import Projector

        self._top, self._log_probabilities = settings.top, settings.equation == "log_probabilities"
        self._baseline, self._reinforced = (
            Projector(load_model(model.path, context.placement.device, settings.precision))
            for model in (baseline, reinforced)
        )
        self._checked = False
        size = tokenizer_size(Path(baseline.tokenizer.paths[0]).parent)
        self._masked_M = torch.arange(size, self._baseline.vocabulary) if size < self._baseline.vocabulary else None

    def of(self, batch: list[dict[str, Any]]) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Label curves and logits of each block of a micro-batch."""
        if not self._checked:
            for model in (self._baseline, self._reinforced):
                model.check(batch[0]["original_ids"])
            self._checked = True
        translated = self._baseline.hidden([block["translated_ids"] for block in batch])
        original = self._reinforced.hidden([block["original_ids"] for block in batch])
        for block, b_UH, r_TH in zip(batch, translated, original, strict=True):
            yield self._block(block, b_UH, r_TH)

    def _block(self, block: dict[str, Any], b_UH: Any, r_TH: Any) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        import torch

        training = [t for t, reason in enumerate(block["reasons"]) if reason is None]
        curves, found = Columns(), Columns()
        rows = max(1, CHUNK_ELEMENTS[b_UH.device.type] // self._baseline.vocabulary)
        for start in range(0, len(training), rows):
            chunk_R = torch.tensor(training[start : start + rows], device=b_UH.device)
            self._chunk(block, chunk_R, b_UH, r_TH, curves, found)
        return curves_batch(block, curves), logits_batch(block, training, found)

    def _chunk(
        self, block: dict[str, Any], chunk_R: Any, b_UH: Any, r_TH: Any, curves: "Columns", found: "Columns"
    ) -> None:
        import torch

        from tasks.method.curve import label_curves
        from tasks.method.equation import forbid, measure_rows

        device = chunk_R.device
        places_R = torch.tensor(block["mapping"], device=device)[chunk_R]
        b_RV, r_RV = self._baseline.rows(b_UH[places_R]), self._reinforced.rows(r_TH[chunk_R])
        masked_M = self._masked_M.to(device) if self._masked_M is not None else None
        try:
            b, r = measure_rows(b_RV, masked_M), measure_rows(r_RV, masked_M)
        except ValueError as error:
            raise BadInput(f"block {block['block_id']}: {error}") from error
        if block["forbidden_ids"]:
            ids_F, from_F = (torch.tensor(block[f"forbidden_{name}"], device=device) for name in ("ids", "from"))
            forbid(b_RV, b.mean_R, places_R, ids_F, from_F)
        lse = (b.lse_R, r.lse_R) if self._log_probabilities else None
        curve, top = label_curves(b_RV, r_RV, self._top, lse)
        curves.add(
            position=chunk_R[curve.row],
            vertex=curve.vertex,
            token=curve.token,
            alpha_from=curve.alpha_from,
            alpha_to=curve.alpha_to,
        )
        found.add(
            row_mean=b.mean_R,
            baseline_lse=b.lse_R,
            reinforced_lse=r.lse_R,
            ids=top.ids_RK,
            baseline=top.baseline_RK,
            reinforced=top.reinforced_RK,
        )


class Columns:
    """Named tensors, gathered chunk by chunk on the CPU."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Any]] = {}

    def add(self, **tensors: Any) -> None:
        """Append a chunk."""
        for name, tensor in tensors.items():
            self._parts.setdefault(name, []).append(tensor.cpu().numpy())

    def array(self, name: str, kind: pa.DataType) -> pa.Array:
        """The whole column; a matrix becomes a list a row."""
        import numpy as np

        parts = self._parts.get(name)
        if not parts:
            return pa.array([], kind)
        values = np.concatenate(parts)
        if values.ndim == 1:
            return pa.array(values).cast(kind)
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)).cast(kind.value_type))


def curves_batch(block: dict[str, Any], curves: Columns) -> pa.RecordBatch:
    """Rows of the `label_curves` table for one block."""
    schema = TABLES["label_curves"].schema
    columns = {name: curves.array(name, schema.field(name).type) for name in schema.names[1:]}
    number = pa.array([block["block_id"]] * len(columns["position"]), pa.int32())
    return pa.RecordBatch.from_arrays([number, *columns.values()], schema=schema)


def logits_batch(block: dict[str, Any], training: list[int], found: Columns) -> pa.RecordBatch:
    """Rows of the `logits` table for one block: every position, those that do not train with their reason alone."""
    schema = TABLES["logits"].schema
    reasons = block["reasons"]
    place = {position: row for row, position in enumerate(training)}
    take = pa.array([place.get(position) for position in range(len(reasons))], pa.int32())
    columns = {
        "block_id": pa.array([block["block_id"]] * len(reasons), pa.int32()),
        "position": pa.array(range(len(reasons)), pa.int32()),
        "reason": pa.array(reasons, pa.string()),
    }
    for name in schema.names[len(columns) :]:
        columns[name] = found.array(name, schema.field(name).type).take(take)
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
