"""Equation 1, and what is done to rows of logits before it (METHOD.md 1 to 3, 6).

Trap: the order. Masked ids leave first, then the row mean is taken, then forbidden tokens get it, then the
equation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LOWEST = torch.finfo(torch.float32).min
"""The logit of an id that must never be a label. Finite, so that differences of two masked logits are 0 and
not NaN."""


@dataclass(frozen=True, slots=True)
class RowSums:
    """Mean logit and log-sum-exp of rows, over the ids that are not masked, in fp32."""

    mean_R: Tensor
    lse_R: Tensor


def measure_rows(logits_RV: Tensor, masked_M: Tensor | None = None) -> RowSums:
    """Mask ids in place (they get LOWEST in both models' rows and can never be a label), then sum up each
    row.

    The mean runs over every id that is not masked, those forbidden later included. Raises ValueError for
    logits that are not float32, and naming the rows that hold NaN or an infinity.
    """
    if logits_RV.dtype != torch.float32:
        raise ValueError(f"expected float32 logits, found {logits_RV.dtype}; project the hidden states in float32")
    chunks = torch.split(logits_RV, chunk_rows(logits_RV))
    sums, lses = zip(*(_measure_chunk(chunk, masked_M) for chunk in chunks), strict=True)
    sum_R = torch.cat(sums)
    if not sum_R.isfinite().all():
        rows = (~sum_R.isfinite()).nonzero().flatten().tolist()
        raise ValueError(
            f"expected finite logits, found NaN or infinity in {len(rows)} of {len(sum_R)} rows "
            f"(rows {rows[:10]}); is the model damaged, or does it suppress ids that should be masked?"
        )
    allowed = logits_RV.shape[1] - (0 if masked_M is None else len(masked_M))
    return RowSums(sum_R / allowed, torch.cat(lses))


def _measure_chunk(logits_RV: Tensor, masked_M: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum and log-sum-exp of few rows, all while they are in the cache."""
    if masked_M is not None:
        logits_RV.index_fill_(1, masked_M, 0.0)
    sum_R = logits_RV.sum(-1)
    if masked_M is not None:
        logits_RV.index_fill_(1, masked_M, LOWEST)
    return sum_R, _log_sum_exp(logits_RV)


def _log_sum_exp(logits_RV: Tensor) -> Tensor:
    """As torch.logsumexp, with one temporary instead of several: it is the dearest sum here."""
    highest_R1 = logits_RV.amax(1, keepdim=True)
    return (logits_RV - highest_R1).exp_().sum(1).log_() + highest_R1[:, 0]


def forbid(b_RV: Tensor, mean_R: Tensor, rows_P: Tensor, ids_P: Tensor) -> None:
    """Give every forbidden token, id `ids_P[p]` in row `rows_P[p]`, its row's mean logit, in place (METHOD.md 2.3)."""
    b_RV[rows_P, ids_P] = mean_R[rows_P]


def generic_logits(b_RV: Tensor, r_RV: Tensor, alpha: float) -> Tensor:
    """v_generic = v_baseline - alpha * relu(v_reinforced - v_baseline)

    Equation 1 of the paper (METHOD.md 1). The baseline read the TRANSLATED block and the reinforced model the
    original; row i of both has seen the same text.
    """
    return b_RV - alpha * rise(b_RV, r_RV)


def rise(b_RV: Tensor, r_RV: Tensor) -> Tensor:
    """relu(v_reinforced - v_baseline): by how much reinforcement raised each token. Never negative."""
    return torch.relu(r_RV - b_RV)


def soft_labels(ids_RK: Tensor, v_RK: Tensor, labels_R: Tensor, soft: float) -> tuple[Tensor, Tensor]:
    """Each row's label as a distribution over its K candidates: (ids_RK, shares_RK), the shares of a row sum to 1.

    A share `soft` is the softmax of v_generic over the candidates, the rest is the hard label. What lies below the
    candidates is left out: of a forbidden token's probability nobody can tell how much of it is there. A hard label
    that is no candidate (its row was repaired from full rows) stays a hard label.
    """
    hit_RK = ids_RK == labels_R[:, None]
    outside_R = ~hit_RK.any(1)
    ids_RK = ids_RK.clone()
    ids_RK[outside_R, 0] = labels_R[outside_R]
    hit_RK[outside_R, 0] = True
    soft_R1 = torch.where(outside_R, 0.0, soft)[:, None]
    return ids_RK, soft_R1 * v_RK.softmax(1) + (1 - soft_R1) * hit_RK


def log_probabilities(logits_RV: Tensor, lse_R: Tensor) -> Tensor:
    """Rows for equation 1 on log-probabilities instead of raw logits. A masked id stays lowest."""
    return logits_RV - lse_R[:, None]


def chunk_rows(rows_RV: Tensor) -> int:
    """Rows to work on at a time: half a MiB stays in a CPU's cache, an accelerator wants few large kernels."""
    elements = 1 << 17 if rows_RV.device.type == "cpu" else 1 << 26
    return max(1, elements // rows_RV.shape[1])
