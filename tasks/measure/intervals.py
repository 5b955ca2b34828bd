"""What a number of the evidence is: a value with its interval, and a change between two models with its own.

A change is paired: both models answered the same items, so the spread between items cancels and a much smaller change
shows than two separate intervals would suggest. The report resamples the items, the audit takes their variance.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from storage.errors import BadInput

RESAMPLED_AT_ONCE = 4_000_000  # drawn indices held in memory
RESAMPLES = 2_000  # of a share of what came back
Z = 1.96  # 95 %
NORMAL = NormalDist().inv_cdf(0.975)  # the same, not rounded

Form = Literal["share", "mean", "perplexity", "auc"]
"""How a value comes of its items: the mean of scores between 0 and 1, of other scores, exp of nats per token, pairs."""


@dataclass(frozen=True, slots=True)
class Value:
    """A measure of one model with its 95 % interval, and the items behind it where they are known.

    The value is the mean of each group of items {number: score}: one group of a share or a mean, two of an AUC.
    """

    value: float
    low: float
    high: float
    count: int
    stderr: float | None = None
    groups: tuple[Mapping[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One model minus another, with its 95 % interval. Of perplexity: the relative change."""

    difference: float
    low: float
    high: float
    count: int


def value_of(
    form: Form, value: float, stderr: float | None, count: int, groups: tuple[Mapping[int, float], ...] = ()
) -> Value:
    """The value with the interval of its form."""
    return Value(value, *interval_of(form, value, stderr, count), count, stderr, groups)


def interval_of(form: Form, value: float, stderr: float | None, count: int) -> tuple[float, float]:
    """The 95 % interval of a value over `count` items."""
    if form == "perplexity":  # its logarithm is the mean, and the interval is symmetric there
        low, high = interval(0.0, (stderr or 0.0) / value)
        return value * math.exp(low), value * math.exp(high)
    if form == "share":  # 0-or-1 scores spread most: Wilson's interval is never too narrow for others
        return wilson(min(max(value, 0.0), 1.0) * count, count)
    low, high = interval(value, stderr)
    return low if value < 0 else max(low, 0.0), min(high, 1.0) if form == "auc" else high


def groups_of(form: Form, items: Sequence[Mapping[str, Any]]) -> tuple[Mapping[int, float], ...]:
    """The items behind a value, so that two values can be compared item by item; none of a perplexity."""
    scored = {item["item"]: item for item in items if item["score"] is not None}
    if not scored or form == "perplexity":
        return ()
    scores = {number: item["score"] for number, item in scored.items()}
    if form != "auc":
        return (scores,)
    members = [number for number, item in scored.items() if json.loads(item["details"])["member"]]
    others = [number for number in scored if number not in set(members)]
    sides = placements([scores[number] for number in members], [scores[number] for number in others])
    return tuple(
        dict(zip(side, map(float, part), strict=True)) for side, part in zip((members, others), sides, strict=True)
    )


def change_between(value: Value, reference: Value) -> Change:
    """Value minus reference: paired where both were measured on the same items, else by their standard errors."""
    difference, pairs = value.value - reference.value, list(zip(value.groups, reference.groups, strict=False))
    if not pairs or any(ours.keys() != theirs.keys() or len(ours) < 2 for ours, theirs in pairs):
        wide = Z * math.hypot(value.stderr or 0.0, reference.stderr or 0.0)
    else:
        changes = [np.array([ours[item] - theirs[item] for item in ours]) for ours, theirs in pairs]
        wide = Z * math.sqrt(sum(float(change.var(ddof=1)) / len(change) for change in changes))
    return Change(difference, difference - wide, difference + wide, min(value.count, reference.count))


def recovery(before: Value, after: Value, baseline: Value) -> tuple[float, tuple[float, float] | None]:
    """Share of what was forgotten that came back: 0 is nothing, 1 all that the baseline knew.

    With the 95 % percentile bootstrap over the items, drawn for all three together; None where they had others.
    """
    share = (after.value - before.value) / (baseline.value - before.value)
    items = [value.groups[0] if value.groups else {} for value in (before, after, baseline)]
    if len(items[0]) < 2 or not items[0].keys() == items[1].keys() == items[2].keys():
        return share, None
    before_I, after_I, baseline_I = (np.array([scores[item] for item in items[0]]) for scores in items)
    drawn_RI = np.random.default_rng(0).integers(0, len(before_I), (RESAMPLES, len(before_I)))
    back_R, forgotten_R = ((scores_I - before_I)[drawn_RI].sum(1) for scores_I in (after_I, baseline_I))
    low, high = np.quantile(back_R[forgotten_R > 0] / forgotten_R[forgotten_R > 0], [0.025, 0.975])
    return share, (float(low), float(high))


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share; unlike the normal one it stays in [0, 1], never of width 0."""
    if not 0 <= successes <= count or count < 1:
        raise BadInput(f"A share needs 0 <= successes <= count and count >= 1, not {successes} of {count}.")
    share, z2 = successes / count, NORMAL * NORMAL
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = NORMAL / (1 + z2 / count) * float(np.sqrt(share * (1 - share) / count + z2 / (4 * count * count)))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(value: float, stderr: float | None) -> tuple[float, float]:
    """The normal 95 % interval of a value by its standard error."""
    wide = NORMAL * (stderr or 0.0)
    return value - wide, value + wide


def placements(members: Sequence[float], others: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Per member the share of others below it, per other the share of members above it (ties half).

    Either mean is the AUC, and their variances are its variance (DeLong et al. 1988).
    """
    ours, theirs = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    return _share_below(ours, theirs), 1 - _share_below(theirs, ours)


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    share: np.ndarray = below / (2 * len(others))
    return share


def paired(
    before: Sequence[float],
    after: Sequence[float],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Change:
    """Mean difference of two equally long columns of scores, with a percentile bootstrap over the items."""
    if len(before) != len(after) or not len(before):
        raise BadInput(f"A paired comparison needs the same items twice, not {len(before)} and {len(after)}.")
    change = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    random = np.random.default_rng(seed)
    chunk = max(1, RESAMPLED_AT_ONCE // len(change))
    means = [
        change[random.integers(0, len(change), size=(min(chunk, resamples - done), len(change)))].mean(axis=1)
        for done in range(0, resamples, chunk)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Change(float(change.mean()), float(low), float(high), len(change))
