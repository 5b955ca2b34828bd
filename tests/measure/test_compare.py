"""Intervals and paired comparison."""

import itertools

import numpy as np
import pytest

from storage.errors import BadInput
from tasks.measure.intervals import compare, paired, wilson
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


def test_evaluations_are_paired_by_item_not_by_order() -> None:
    before, after = items([0.0, 1.0, None]), items([1.0, 1.0, 0.5])
    result = compare(mean_of("accuracy", before, "a"), mean_of("accuracy", after[::-1], "a"))
    assert (result.difference, result.count) == (0.5, 2)


def test_different_items_or_metrics_are_refused() -> None:
    one = mean_of("accuracy", items([0.0, 1.0]), "a")
    with pytest.raises(BadInput, match="same items"):
        compare(one, mean_of("accuracy", items([0.0]), "a"))
    with pytest.raises(BadInput, match="Cannot compare"):
        compare(one, mean_of("accuracy", items([0.0, 1.0]), "b"))


def test_standard_error_is_of_the_mean_and_leaves_unscored_items_out() -> None:
    measured = mean_of("m", items([1.0, 2.0, None, 6.0]))
    assert (measured.value, measured.count, len(measured.items)) == (3.0, 3, 4)
    assert measured.stderr == pytest.approx(np.sqrt((4 + 1 + 9) / 2 / 3))
    assert mean_of("m", items([1.0])).stderr is None
