"""The label of a position as a function of alpha: the upper envelope of straight lines (METHOD.md 6).

With d_v = rise(b_v, r_v) token v is the line b_v - alpha * d_v, so the label changes at few alphas.
Trap: a token may win at a single alpha (a tie that its lower id decides), at alpha = 0 above all. Such a
vertex is as long as one step of float32, the type in which alpha is looked up.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.method.equation import LOWEST, chunk_rows, log_probabilities, rise

GROUP = 64  # neighbours of which the highest is looked at first: a row's k highest are dear to find
NO_TOKEN = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True)
class Curves:
    """N vertices by row, then by alpha. `token` is the label for alpha_from <= alpha < alpha_to (float32)."""

    row: Tensor
    vertex: Tensor
    token: Tensor
    alpha_from: Tensor
    alpha_to: Tensor

    def labels(self, alpha: float) -> Tensor:
        """The label of each row, by look-up."""
        at = torch.tensor(alpha, dtype=torch.float32, device=self.alpha_from.device)
        return self.token[(self.alpha_from <= at) & (at < self.alpha_to)]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The K highest baseline logits of each of R rows, highest first, and the reinforced ones."""

    ids_RK: Tensor
    baseline_RK: Tensor
    reinforced_RK: Tensor


def label_curves(
    b_RV: Tensor, r_RV: Tensor, k: int = 16, lse: tuple[Tensor, Tensor] | None = None
) -> tuple[Curves, Candidates]:
    """The exact labels of R rows for every alpha >= 0, and the top-k that people may want to see.

    Rows are finite, fp32, masked and with forbidden tokens already substituted (`measure_rows`, `forbid`).
    With `lse`, the baseline's and the reinforced rows' log-sum-exps, equation 1 works on log-probabilities;
    the candidates are raw logits either way.
    """
    raw_b_RV, raw_r_RV = b_RV, r_RV
    if lse is not None:
        b_RV, r_RV = log_probabilities(b_RV, lse[0]), log_probabilities(r_RV, lse[1])
    ids_RK = _highest(b_RV, k)
    b_RK = b_RV.gather(1, ids_RK)
    d_RK = rise(b_RK, r_RV.gather(1, ids_RK))
    # A flat token strictly above the k-th logit beats everything outside the top-k at every alpha. Equal is
    # not enough: a token outside may tie with it and have the lower id.
    proven_R = ((d_RK == 0) & (b_RK > b_RK[:, -1:])).any(1) | (ids_RK.shape[1] == b_RV.shape[1])
    proven, unproven = proven_R.nonzero().flatten(), (~proven_R).nonzero().flatten()
    parts = [_steps(proven, *_envelope(b_RK[proven], d_RK[proven], ids_RK[proven]))]
    if len(unproven):
        chunks = torch.split(unproven, chunk_rows(b_RV))
        parts += [_repair(rows, b_RV, r_RV, ids_RK) for rows in chunks]
    curves = _curves(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
    return curves, Candidates(ids_RK, raw_b_RV.gather(1, ids_RK), raw_r_RV.gather(1, ids_RK))


def _highest(b_RV: Tensor, k: int) -> Tensor:
    """Ids of the k highest logits of each row, highest first, lower ids first among equals."""
    ids_RK = _among_highest_groups(b_RV, k) if b_RV.shape[1] > 2 * k * GROUP else _topk(b_RV, k)
    ids_RK = ids_RK.sort(1).values
    order_RK = b_RV.gather(1, ids_RK).sort(dim=1, descending=True, stable=True).indices
    return ids_RK.gather(1, order_RK)


def _among_highest_groups(b_RV: Tensor, k: int) -> Tensor:
    """The same in any order: they lie in the k groups of neighbours with the highest maxima, or behind all groups."""
    groups = b_RV.shape[1] // GROUP
    maxima_RG = b_RV[:, : groups * GROUP].view(len(b_RV), groups, GROUP).amax(2)
    inside = torch.arange(GROUP, device=b_RV.device)
    ids_RI = (_topk(maxima_RG, k)[:, :, None] * GROUP + inside).flatten(1)
    rest = torch.arange(groups * GROUP, b_RV.shape[1], device=b_RV.device)
    ids_RI = torch.cat([ids_RI, rest.expand(len(b_RV), -1)], 1)
    return ids_RI.gather(1, _topk(b_RV.gather(1, ids_RI), k))


def _topk(values_RV: Tensor, k: int) -> Tensor:
    return values_RV.topk(min(k, values_RV.shape[1]), sorted=False).indices


def _repair(rows: Tensor, b_RV: Tensor, r_RV: Tensor, ids_RK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The exact steps of rows that their top-k does not prove.

    The top-k and the flattest line of the whole row have an envelope of their own, convex in alpha. A line
    that is above it anywhere is above it at one of its vertices, so one pass a vertex finds every line that
    still matters.
    """
    b, seeds = b_RV[rows], ids_RK[rows]
    d = rise(b, r_RV[rows])
    least_R1 = d.where(b > LOWEST, torch.inf).amin(1, keepdim=True)
    flattest = b.where(d == least_R1, -torch.inf).argmax(1, keepdim=True)
    seeds = torch.cat([seeds, flattest], 1)
    _, from_RS = _envelope(b.gather(1, seeds), d.gather(1, seeds), seeds)
    possible = torch.zeros_like(b, dtype=torch.bool)
    for start in from_RS[:, ::2].unbind(1):
        value = b - start.where(start < torch.inf, 0.0)[:, None] * d
        level = value.gather(1, seeds).amax(1, keepdim=True)
        slack = 1e-5 * (level.abs() + b.amax(1, keepdim=True).abs())  # many roundings of float32
        possible |= value >= level - slack
    ids = possible.byte().topk(int(possible.sum(1).max()), sorted=False).indices
    return _steps(rows, *_envelope(b.gather(1, ids), d.gather(1, ids), ids))


def _envelope(b_RK: Tensor, d_RK: Tensor, ids_RK: Tensor) -> tuple[Tensor, Tensor]:
    """Walk the upper envelope of each row's lines from alpha = 0: S tokens and alpha_from (inf = no step).

    `here` are the lines that meet at the current vertex, the one that was winning included. At the vertex
    itself the lowest id wins, after it the flattest line: two steps a vertex, the first of them often empty.
    """
    b, d = b_RK.double(), d_RK.double()
    at = torch.zeros(len(b), dtype=torch.float64, device=b.device)
    here = b == b.amax(1, keepdim=True)
    tokens, froms = [], []
    while True:
        line = here & (d == _least(d, here)[:, None])
        after, at_vertex = _least(ids_RK, line), _least(ids_RK, here)
        start = _float32_from(at)
        exact = start.double() == at
        tokens += [torch.where(exact, at_vertex, after), after]
        froms += [start, torch.where(exact, torch.nextafter(start, torch.full_like(start, torch.inf)), start)]
        crossing = _crossings(b, d, line)
        nearest = crossing.amin(1)
        here = line | (crossing == nearest[:, None])
        at = torch.maximum(at, nearest)  # rounding must not lead back
        if not bool((at < torch.inf).any()):
            return torch.stack(tokens, 1), torch.stack(froms, 1).cummax(1).values


def _least(values_RK: Tensor, among_RK: Tensor) -> Tensor:
    """Least value of each row among some columns."""
    highest = NO_TOKEN if values_RK.dtype == torch.int64 else torch.inf
    return values_RK.where(among_RK, highest).amin(1)


def _crossings(b: Tensor, d: Tensor, line: Tensor) -> Tensor:
    """Alpha at which each line overtakes the winning one; infinity where it never does."""
    b_line, d_line = -_least(-b, line)[:, None], _least(d, line)[:, None]
    return ((b_line - b) / (d_line - d)).where((d < d_line) & (b > LOWEST), torch.inf)


def _float32_from(at: Tensor) -> Tensor:
    """The first float32 that is not below a float64."""
    near = at.float()
    return torch.where(near.double() < at, torch.nextafter(near, torch.full_like(near, torch.inf)), near)


def _steps(rows: Tensor, token_RS: Tensor, from_RS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flat row, token, alpha_from, without the steps that are empty because the next one begins where they
    do."""
    next_RS = torch.cat([from_RS[:, 1:], torch.full_like(from_RS[:, :1], torch.inf)], 1)
    lasting = next_RS > from_RS
    return rows[:, None].expand_as(token_RS)[lasting], token_RS[lasting], from_RS[lasting]


def _curves(row: Tensor, token: Tensor, alpha_from: Tensor) -> Curves:
    """Order by row, join neighbouring steps of one token, number the vertices."""
    order = row.argsort(stable=True)
    row, token, alpha_from = row[order], token[order], alpha_from[order]
    new = torch.ones_like(row, dtype=torch.bool)
    new[1:] = (row[1:] != row[:-1]) | (token[1:] != token[:-1])
    row, token, alpha_from = row[new], token[new], alpha_from[new]
    place = torch.arange(len(row), device=row.device)
    vertex = place - torch.searchsorted(row, row)
    last = torch.ones_like(row, dtype=torch.bool)
    last[:-1] = row[1:] != row[:-1]
    alpha_to = alpha_from.roll(-1).masked_fill(last, torch.inf)
    return Curves(row, vertex, token, alpha_from, alpha_to)
