"""Intervals and paired comparison."""

import itertools

import numpy as np
import pytest

from storage.errors import BadInput
from tasks.measure.intervals import Value, change_between, interval_of, paired, recovery, value_of, wilson
from tasks.measure.rows import Item, mean_of


def test_wilson_solves_its_equation() -> None:
    # The bounds are the shares p with |p - k/n| = z sqrt(p (1 - p) / n).
    for bound in wilson(7, 20):
        assert abs(bound - 7 / 20) == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / 20), abs=1e-6)


def test_wilson_at_the_ends_is_neither_empty_nor_outside() -> None:
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert all(0 <= bound <= 1 for bound in (*wilson(0, 3), *wilson(3, 3)))
    assert wilson(10, 10)[0] == pytest.approx(1 - 0.2775, abs=1e-4)


@pytest.mark.parametrize(("successes", "count"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_what_is_no_share(successes: int, count: int) -> None:
    with pytest.raises(BadInput, match="share"):
        wilson(successes, count)


def test_bootstrap_agrees_with_every_possible_resample() -> None:
    before, after = [0.0, 0.2, 0.1, 0.9], [0.5, 0.1, 0.7, 1.0]
    change = [new - old for old, new in zip(before, after, strict=True)]
    means = sorted(sum(draw) / 4 for draw in itertools.product(change, repeat=4))
    result = paired(before, after, resamples=40_000, confidence=0.8)
    assert result.difference == pytest.approx(sum(change) / 4)
    assert result.low == pytest.approx(np.quantile(means, 0.1), abs=0.02)
    assert result.high == pytest.approx(np.quantile(means, 0.9), abs=0.02)


def test_pairing_sees_a_change_much_smaller_than_the_spread() -> None:
    spread = np.random.default_rng(1).normal(0, 10, 200)
    result = paired(spread, spread + np.linspace(0.05, 0.15, 200))
    assert 0.09 < result.low < 0.1 < result.high < 0.11


def test_same_seed_same_interval_whatever_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = list(range(50)), list(range(1, 100, 2))
    once = paired(before, after, seed=3)
    monkeypatch.setattr("tasks.measure.intervals.RESAMPLED_AT_ONCE", 1000)
    assert paired(before, after, seed=3) == once
    assert paired(before, after, seed=4) != once


def items(scores: list[float | None]) -> list[Item]:
    return [Item(number, "", "", "", score) for number, score in enumerate(scores)]


def test_a_difference_is_paired_where_both_have_the_same_items_and_by_standard_errors_elsewhere() -> None:
    spread = np.random.default_rng(1).normal(0, 10, 200)
    before = dict(enumerate(spread.tolist()))
    after = {item: score + 0.1 + 0.01 * (item % 2) for item, score in reversed(before.items())}
    stderr = float(spread.std(ddof=1)) / 200**0.5
    old, new = (value_of("mean", float(np.mean([*side.values()])), stderr, 200, (side,)) for side in (before, after))
    same = change_between(new, old)
    assert same.difference == pytest.approx(0.105)
    assert 0.1 < same.low < 0.105 < same.high < 0.11
    other = value_of("mean", old.value, stderr, 199, ({item: before[item] for item in list(before)[1:]},))
    assert change_between(new, other).high - 0.105 == pytest.approx(1.96 * stderr * 2**0.5)


def test_recovery_is_the_share_that_came_back_with_the_spread_of_its_items() -> None:
    before, after, baseline = ([0.1] * 40, [0.3] * 39 + [0.9], [0.9] * 40)

    def of(scores: list[float], first: int = 0) -> Value:
        groups = (dict(enumerate(scores, first)),)
        return value_of("mean", sum(scores) / len(scores), 0.01, len(scores), groups)

    share, interval = recovery(of(before), of([0.3] * 40), of(baseline))
    assert share == pytest.approx(0.25)
    assert interval == pytest.approx((0.25, 0.25))  # every item came back alike
    _, spread = recovery(of(before), of(after), of(baseline))
    # One item of 40 is back whole: no draw of it to three of them hold 95 %, each worth 0.6 / 0.8 / 40.
    assert spread == pytest.approx((0.25, 0.25 + 3 * 0.75 / 40))
    assert recovery(of(before), of(after), of(baseline, first=1))[1] is None


def test_every_form_has_the_interval_of_its_scale() -> None:
    assert interval_of("share", 0.35, 0.2, 20) == wilson(7, 20)
    assert interval_of("mean", 0.2, 0.2, 20) == pytest.approx((0.0, 0.2 + 1.959964 * 0.2))
    assert interval_of("mean", -0.2, 0.1, 20) == pytest.approx((-0.2 - 1.959964 * 0.1, -0.2 + 1.959964 * 0.1))
    assert interval_of("auc", 0.9, 0.2, 20) == pytest.approx((0.9 - 1.959964 * 0.2, 1.0))
    low, high = interval_of("perplexity", 10.0, 1.0, 20)
    assert low * high == pytest.approx(100.0)
    assert high == pytest.approx(10 * np.exp(1.959964 * 0.1))


def test_standard_error_is_of_the_mean_and_leaves_unscored_items_out() -> None:
    measured = mean_of("m", items([1.0, 2.0, None, 6.0]))
    assert (measured.value, measured.count, len(measured.items)) == (3.0, 3, 4)
    assert measured.stderr == pytest.approx(np.sqrt((4 + 1 + 9) / 2 / 3))
    assert mean_of("m", items([1.0])).stderr is None
