"""How much of a text a model holds, from what it gives the text's own tokens: pure functions, no model.

Of an answer of T tokens they take `log_T`, its tokens' log-probabilities (nats, each token given all before it), and
`hit_T`, whether each token was the most probable one. docs/METRICS.md has directions, limits and sources.
"""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from tasks.measure.intervals import placements

MIN_K = 0.4
"""The K of TOFU and MUSE; the audit's own default is 0.2."""
TINY = 1e-10


def probability(log_T: Sequence[float]) -> float:
    """Geometric mean of the tokens' probabilities: P = exp(mean log p). 1: known by heart."""
    return math.exp(fmean(log_T))


def exact_memorisation(hit_T: Sequence[bool]) -> float:
    """Share of tokens that greedy decoding takes when all before them are given."""
    return fmean(hit_T)


def extraction_strength(hit_T: Sequence[bool], *, least: int = 0) -> float:
    """1 - k / T, k the fewest first tokens after which greedy decoding gives all the rest.

    `least=0`: 0 where the last token is wrong already. `least=1`: 1 / T there, the floor of open-unlearning's code.
    """
    run = next((run for run, hit in enumerate(reversed(hit_T)) if not hit), len(hit_T))
    return max(run, least) / len(hit_T)


def truth_ratio(correct: float, wrong: Sequence[float]) -> float:
    """R of one item, from mean log-probabilities a token: geometric mean of the wrong answers over the right one."""
    return math.exp(fmean(wrong)) / (math.exp(correct) + TINY)


def neither_preferred(ratios: Sequence[float]) -> float:
    """Truth ratio of what shall be forgotten: mean min(R, 1 / R); 1: right and wrong are equally likely."""
    return fmean(min(ratio, 1 / (ratio + TINY)) for ratio in ratios)


def truth_preferred(ratios: Sequence[float]) -> float:
    """Truth ratio of what shall be kept: mean max(0, 1 - R); 1: the right answer alone is likely."""
    return fmean(max(0.0, 1 - ratio) for ratio in ratios)


def truth_share(ratios: Sequence[float]) -> float:
    """Mean p_right / (p_right + p_wrong) = 1 / (1 + R); 0.5: right and wrong are equally likely."""
    return fmean(1 / (1 + ratio) for ratio in ratios)


def share_of_right(right: float, wrong: Sequence[float]) -> float:
    """The right answer's probability among all options."""
    return right / (right + sum(wrong) + TINY)


def min_k(log_T: Sequence[float], share: float = MIN_K) -> float:
    """Min-K: minus the mean of the lowest `share` of the log-probabilities, at least one. Lower: rather trained on."""
    return -fmean(sorted(log_T)[: max(1, int(len(log_T) * share))])


def auc(members: Sequence[float], others: Sequence[float]) -> tuple[float, float | None]:
    """(share of pairs in which the member scores higher, ties half; its standard error after DeLong et al. 1988)."""
    wins, losses = placements(members, others)
    if min(len(wins), len(losses)) < 2:
        return float(wins.mean()), None
    return float(wins.mean()), float(np.sqrt(wins.var(ddof=1) / len(wins) + losses.var(ddof=1) / len(losses)))


def privacy_leak(model: float, retrained: float) -> float:
    """PrivLeak in percent, of two AUC, which MUSE counts the other way round; > 0: forgotten more than never read."""
    return 100 * ((1 - model) - (1 - retrained)) / ((1 - retrained) + TINY)


def forget_quality(ratios: Sequence[float], retrained: Sequence[float]) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between truth ratios; no scale: high says only "no proof"."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(np.asarray(ratios), np.asarray(retrained)).pvalue)
