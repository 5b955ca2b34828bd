"""retained_labels: what the baseline predicts on the text to retain, as soft labels.

No part of the paper's method, and off by default (retain.labels). The text's own tokens sharpen a model as hard labels
do; the baseline's predictions hold it where it was, so it bears larger steps away from the target (docs/LOG.md).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from storage.artifact import Artifact
from storage.shards import read_shard, shard_writer
from tasks.contents import NO_LABEL, RETAINED, SOFT_EXAMPLES
from tasks.engine.stage import Context, Counts, stage
from tasks.models import Model, load_model


@stage("retained_labels", version=1, heavy=True, reads=True)
def retained_labels(
    context: Context, retained: Artifact, baseline: Model, precision: str, top: int = 16, seed: int = 0
) -> Counts:
    """Write retained.arrow again, with K = `top` + 1 `candidates` and `shares` a position, T * K of them a block.

    They are the likeliest tokens, and one that the seed draws among all others, with the probability of all of these:
    in the mean over draws the baseline's whole distribution.
    """
    from tasks.method.projection import Projector

    table = read_shard(context.path(retained) / RETAINED)
    projector = Projector(load_model(baseline.path, context.placement.device, precision))
    projector.check(table.column("input_ids")[0].as_py())
    size = context.placement.micro_batch
    with shard_writer(context.folder / RETAINED, SOFT_EXAMPLES) as write:
        for first in range(0, len(table), size):
            for row in predicted(projector, table.slice(first, size), first, top, seed):
                write(row)
            context.progress(min(first + size, len(table)), len(table))
    return {"blocks": len(table)}


def predicted(projector: Any, blocks: pa.Table, first: int, top: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of blocks numbered from `first` on; a position without a label has shares of 0."""
    import torch

    from tasks.method.projection import padded

    rows = blocks.to_pylist()
    hidden_BTH = projector.hidden(padded([row["input_ids"] for row in rows]))
    for number, (row, hidden_TH) in enumerate(zip(rows, hidden_BTH, strict=True)):
        length = len(row["input_ids"])
        drawn_T = torch.from_numpy(np.random.default_rng((seed, first + number)).random(length, np.float32))
        both = hidden_TH[:length], drawn_T
        chunks = zip(*(torch.split(rows_T, projector.chunk_rows) for rows_T in both), strict=True)
        parts = [distribution(projector.rows(hidden_RH), top, drawn_R) for hidden_RH, drawn_R in chunks]
        candidates_TK, shares_TK = (torch.cat(columns).cpu() for columns in zip(*parts, strict=True))
        shares_TK[torch.tensor(row["labels"]) == NO_LABEL] = 0
        yield row | {"candidates": candidates_TK.flatten().numpy(), "shares": shares_TK.flatten().numpy()}


def distribution(logits_RV: Any, top: int, drawn_R: Any) -> tuple[Any, Any]:
    """(candidates, shares), both [R, top + 1]: the likeliest tokens, and for all others one that `drawn_R`, uniform in
    [0, 1), picks as likely as it is among them."""
    import torch

    shares_RV = logits_RV.softmax(1)
    shares_RK, ids_RK = shares_RV.topk(min(top, shares_RV.shape[1]), dim=1)
    others_RV = shares_RV.scatter(1, ids_RK, 0.0).cumsum(1)
    rest_R = others_RV[:, -1]
    other_R1 = torch.searchsorted(others_RV, (drawn_R.to(rest_R.device) * rest_R)[:, None], right=True)
    ids_RK = torch.cat([ids_RK, other_R1.clamp(max=shares_RV.shape[1] - 1)], 1)
    return ids_RK.int(), torch.cat([shares_RK, rest_R[:, None]], 1)
