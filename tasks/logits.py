"""logits: both models on the same block, and from their rows the exact label curve over alpha.

Full rows exist for a chunk of positions only; what stays is the curve (about 6 bytes a position) and a short top-k
for people.
"""

import math
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.schemas import TABLES
from storage.settings import Settings
from storage.shards import write_shard
from storage.workspace import Workspace
from tasks.contents import blocks_of
from tasks.engine.stage import Context, Counts, Placement, stage
from tasks.models import Model, load_model, tokenizer_size

ELEMENTS_HELD = {"cpu": 1 << 25, "cuda": 1 << 27}
"""Elements of one model's full rows held at a time: 128 MiB on the CPU, where few rows are slow; 512 MiB on a GPU."""


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


def shards(workspace: Workspace, blocks: Artifact, settings: LogitsSettings, **_: Any) -> int:
    """How many shards the blocks come to."""
    number: int = workspace.record(blocks)["counts"]["blocks"]
    return math.ceil(number / settings.shard_blocks)


@stage("logits", version=1, heavy=True, shards=shards, reads=True, protected=True)
def logits(context: Context, blocks: Artifact, baseline: Model, reinforced: Model, settings: LogitsSettings) -> Counts:
    """Write `label_curves` and `logits` shards, each done on its own; those of an earlier attempt are kept."""
    table = blocks_of(context.path(blocks))
    (number, parts), size = context.part, settings.shard_blocks
    stretches = [(first, min(first + size, len(table))) for first in range(0, len(table), size)][number::parts]
    missing = [shard for shard in stretches if not shard_path(context.folder, "logits", *shard).exists()]
    if missing:
        device, tokens = context.placement.device, tokenizer_size(Path(baseline.tokenizer.paths[0]).parent)
        loaded = [load_model(model.path, device, settings.precision) for model in (baseline, reinforced)]
        rows = Rows(loaded[0], loaded[1], settings, tokens)
        for first, end in missing:
            write_rows(context, rows, table, first, end)
    return counts_of(context.folder)


def shard_path(folder: Path, table: str, first: int, end: int) -> Path:
    """Where the shard of blocks first..end-1 lies."""
    return folder / f"{table}-{first:08d}-{end:08d}.parquet"


def write_rows(context: Context, rows: "Rows", table: pa.Table, first: int, end: int) -> None:
    """Compute and write one shard. The logits file comes last: where it is, the shard is whole."""
    parts: list[dict[str, pa.Table]] = []
    size, started = context.placement.micro_batch, time.monotonic()
    for start in range(first, end, size):
        parts.append(rows.of(table.slice(start, min(size, end - start))))
        context.progress(min(start + size, end), len(table))
    tokens = sum(part["logits"].num_rows for part in parts)
    context.log_cost(f"{first:08d}-{end:08d}", tokens, time.monotonic() - started)
    for name in ("label_curves", "logits"):
        path = shard_path(context.folder, name, first, end)
        write_shard(path, pa.concat_tables([part[name] for part in parts]))
        context.checkpoint(path)


def counts_of(folder: Path) -> Counts:
    """Positions and vertices of all shards, from the files' own footers."""
    positions, vertices = (
        sum(pq.read_metadata(path).num_rows for path in folder.glob(f"{table}-*.parquet"))
        for table in ("logits", "label_curves")
    )
    return {"positions": positions, "vertices": vertices}


class Rows:
    """Both models in memory, and what becomes of the rows of a micro-batch."""

    def __init__(self, baseline: Any, reinforced: Any, settings: LogitsSettings, tokens: int) -> None:
        """Of two causal models in memory, and a tokenizer of so many tokens: padding rows beyond are never a label."""
        import torch

        from tasks.method.projection import Projector

        self._top, self._log_probabilities = settings.top, settings.equation == "log_probabilities"
        self._baseline, self._reinforced = Projector(baseline), Projector(reinforced)
        vocabulary, device = self._baseline.vocabulary, self._baseline.device
        self._masked_M = torch.arange(tokens, vocabulary, device=device) if tokens < vocabulary else None
        self._size = max(1, ELEMENTS_HELD[device.type] // vocabulary)
        self._checked = False

    def of(self, batch: pa.Table) -> dict[str, pa.Table]:
        """`label_curves` and `logits` of some rows of the `blocks` table."""
        self._check(batch["original_ids"][0].as_py())
        places, columns = Places(batch), Columns()
        b_NH = self._hidden(self._baseline, batch["translated_ids"], places.block_N, places.mapped_N)
        r_NH = self._hidden(self._reinforced, batch["original_ids"], places.block_N, places.position_N)
        for start in range(0, len(b_NH), self._size):
            chunk = slice(start, start + self._size)
            self._chunk(b_NH[chunk], r_NH[chunk], places.forbidden(chunk), columns, places.names(chunk))
        return {"label_curves": curves_table(places, columns), "logits": logits_table(places, columns)}

    def _check(self, ids: list[int]) -> None:
        if not self._checked:
            for model in (self._baseline, self._reinforced):
                model.check(ids)
            self._checked = True

    def _hidden(self, model: Any, ids: pa.ChunkedArray, block_N: Any, place_N: Any) -> Any:
        """Hidden states [N, H] of places in blocks."""
        import torch

        from tasks.method.projection import padded

        hidden_BTH = model.hidden(padded([block.values.to_numpy() for block in ids]))
        flat_N = torch.from_numpy(block_N * hidden_BTH.shape[1] + place_N).to(hidden_BTH.device)
        return hidden_BTH.flatten(0, 1)[flat_N]

    def _chunk(self, b_RH: Any, r_RH: Any, forbidden: Any, columns: "Columns", names: str) -> None:
        """What is kept of R positions, into the columns."""
        import torch

        from tasks.method.curve import label_curves
        from tasks.method.equation import forbid, measure_rows

        b_RV, r_RV = self._baseline.rows(b_RH), self._reinforced.rows(r_RH)
        try:
            b, r = measure_rows(b_RV, self._masked_M), measure_rows(r_RV, self._masked_M)
        except ValueError as error:
            raise BadInput(f"{names}: {error}") from error
        forbid(b_RV, b.mean_R, *(torch.from_numpy(values).to(b_RV.device) for values in forbidden))
        lse = (b.lse_R, r.lse_R) if self._log_probabilities else None
        curve, top = label_curves(b_RV, r_RV, self._top, lse)
        columns.add(row=curve.row + columns.rows, **{name: getattr(curve, name) for name in CURVE})
        columns.add(row_mean=b.mean_R, baseline_lse=b.lse_R, reinforced_lse=r.lse_R)
        columns.add(ids=top.ids_RK, baseline=top.baseline_RK, reinforced=top.reinforced_RK)
        columns.rows += len(b_RV)


CURVE = ("vertex", "token", "alpha_from", "alpha_to")


class Places:
    """The N training positions of B blocks in a row, as columns: block, position, its place in the translation."""

    def __init__(self, batch: pa.Table) -> None:
        self.blocks_B = batch["block_id"].to_numpy()
        self.reasons = flat(batch["reasons"])
        self.block_T = np.repeat(np.arange(len(batch)), lengths(batch["reasons"]))
        self.position_T = within(lengths(batch["reasons"]))
        self.trains_T = self.reasons.is_null().to_numpy(zero_copy_only=False)
        self.block_N, self.position_N = self.block_T[self.trains_T], self.position_T[self.trains_T]
        self.mapped_N = flat(batch["mapping"]).to_numpy()[self.trains_T]
        self._forbidden_B = lengths(batch["forbidden_ids"])
        self._ids_F, self._from_F = (flat(batch[f"forbidden_{name}"]).to_numpy() for name in ("ids", "from"))

    def forbidden(self, chunk: slice) -> tuple[Any, Any]:
        """(row of the chunk, id) of every token that is forbidden there: from a place of the translation on."""
        block_R, mapped_R = self.block_N[chunk], self.mapped_N[chunk]
        counts_R = self._forbidden_B[block_R]
        starts_B = self._forbidden_B.cumsum() - self._forbidden_B
        row_P = np.repeat(np.arange(len(block_R)), counts_R)
        entry_P = starts_B[block_R][row_P] + within(counts_R)
        holds_P = mapped_R[row_P] >= self._from_F[entry_P]
        return row_P[holds_P], self._ids_F[entry_P[holds_P]].astype(np.int64)

    def names(self, chunk: slice) -> str:
        """The chunk's blocks, for a person."""
        first, last = self.blocks_B[self.block_N[chunk]][[0, -1]]
        return f"block {first}" if first == last else f"blocks {first} to {last}"


class Columns:
    """Named tensors, gathered chunk by chunk where they were made, and copied to the CPU at the end."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: dict[str, list[Any]] = {}

    def add(self, **tensors: Any) -> None:
        for name, tensor in tensors.items():
            self._parts.setdefault(name, []).append(tensor)

    def array(self, name: str, kind: pa.DataType) -> pa.Array:
        """The whole column as Arrow, empty where nothing came; a matrix becomes a list a row."""
        import torch

        if name not in self._parts:
            return pa.array([], kind)
        values = torch.cat(self._parts[name]).cpu().numpy()
        if values.ndim == 1:
            return pa.array(values).cast(kind)
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)).cast(kind.value_type))


def curves_table(places: Places, columns: Columns) -> pa.Table:
    schema = TABLES["label_curves"].schema
    row_P = columns.array("row", pa.int64()).to_numpy()
    known = {"block_id": places.blocks_B[places.block_N][row_P], "position": places.position_N[row_P]}
    arrays = {name: pa.array(values).cast(schema.field(name).type) for name, values in known.items()}
    arrays |= {name: columns.array(name, schema.field(name).type) for name in CURVE}
    return pa.table(arrays, schema)


def logits_table(places: Places, columns: Columns) -> pa.Table:
    """Rows of the `logits` table: every position, those that do not train with their reason alone."""
    schema, kept = TABLES["logits"].schema, places.trains_T
    take = pa.array(kept.cumsum() - 1, pa.int32(), mask=~kept)
    known = {"block_id": pa.array(places.blocks_B[places.block_T]), "position": pa.array(places.position_T)}
    arrays = {name: array.cast(schema.field(name).type) for name, array in known.items()} | {"reason": places.reasons}
    for name in schema.names[len(arrays) :]:
        arrays[name] = columns.array(name, schema.field(name).type).take(take)
    return pa.table(arrays, schema)


def flat(column: pa.ChunkedArray) -> pa.Array:
    """The values of a column of lists, one list behind the other."""
    return column.combine_chunks().flatten()


def lengths(column: pa.ChunkedArray) -> Any:
    return pc.list_value_length(column).to_numpy().astype("int64")


def within(lengths: Any) -> Any:
    """0, 1, 2, ... in each of some stretches that lie one behind the other."""
    return np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
