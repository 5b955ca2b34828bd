"""Intervals for shares, and two evaluations compared item by item.

The comparison is paired: both models answered the same items, so the spread between items cancels and a much
smaller change shows than two separate intervals would suggest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from storage.errors import BadInput
from tasks.measure.rows import Measured

RESAMPLED_AT_ONCE = 4_000_000  # drawn indices held in memory


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` is the mean of (after - before); [low, high] its bootstrap interval."""

    difference: float
    low: float
    high: float
    count: int


def wilson(successes: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share; unlike the normal one it stays in [0, 1], never of width 0."""
    if not 0 <= successes <= count or count < 1:
        raise BadInput(f"A share needs 0 <= successes <= count and count >= 1, not {successes} of {count}.")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, z2 = successes / count, z * z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * float(np.sqrt(share * (1 - share) / count + z2 / (4 * count * count)))
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(value: float, stderr: float | None, *, confidence: float = 0.95) -> tuple[float, float]:
    """The normal interval of a value by its standard error."""
    wide = NormalDist().inv_cdf(0.5 + confidence / 2) * (stderr or 0.0)
    return value - wide, value + wide


def interval_of_perplexity(value: float, stderr: float | None) -> tuple[float, float]:
    """The 95 % interval of a perplexity: its logarithm is the mean, and the interval is symmetric there."""
    low, high = interval(0.0, (stderr or 0.0) / value)
    return value * math.exp(low), value * math.exp(high)


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
) -> Comparison:
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
    return Comparison(float(change.mean()), float(low), float(high), len(change))


def compare(before: Measured, after: Measured, *, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """`paired` on two evaluations of the same metric and task; an item without a score is left out."""
    if (before.metric, before.task) != (after.metric, after.task):
        raise BadInput(f"Cannot compare {before.metric} {before.task} with {after.metric} {after.task}.")
    olds = {item.item: item.score for item in before.items}
    news = {item.item: item.score for item in after.items}
    if olds.keys() != news.keys():
        raise BadInput(f"The two evaluations of {before.metric} {before.task} were not made on the same items.")
    pairs = [(old, new) for item, old in olds.items() if old is not None and (new := news[item]) is not None]
    return paired([old for old, _ in pairs], [new for _, new in pairs], confidence=confidence, seed=seed)
