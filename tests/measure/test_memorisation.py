"""Every measure of memorisation against a value worked by hand."""

import math

import pytest

from tasks.measure import memorisation as m

LOG = [math.log(p) for p in (0.5, 0.25, 0.125, 1.0)]


def test_probability_is_the_geometric_mean_a_token() -> None:
    assert m.probability(LOG) == pytest.approx((0.5 * 0.25 * 0.125) ** (1 / 4))
    assert m.probability([0.0, 0.0]) == 1


def test_exact_memorisation_counts_tokens_and_extraction_strength_the_unbroken_end() -> None:
    hits = [True, False, True, True]
    assert m.exact_memorisation(hits) == 0.75
    assert m.extraction_strength(hits) == m.extraction_strength(hits, least=1) == 0.5
    assert m.extraction_strength([True] * 3) == 1


def test_both_conventions_of_extraction_strength_differ_only_where_the_last_token_is_wrong() -> None:
    wrong_end = [True, True, True, False]
    assert m.extraction_strength(wrong_end) == 0
    assert m.extraction_strength(wrong_end, least=1) == 0.25  # 1 - k / T with k = T - 1, as their loop leaves it


def test_a_truth_ratio_has_three_conventions() -> None:
    ratio = m.truth_ratio(math.log(0.5), [math.log(0.2), math.log(0.05)])
    assert ratio == pytest.approx(0.1 / 0.5)  # the wrong answers' geometric mean is 0.1
    assert m.neither_preferred([0.2, 5.0]) == pytest.approx(0.2)  # on either side of 1
    assert m.truth_preferred([0.2, 5.0]) == pytest.approx(0.4)  # (0.8 + 0) / 2
    assert m.truth_share([0.25, 1.0]) == pytest.approx((0.8 + 0.5) / 2)
    assert m.share_of_right(0.3, [0.1, 0.2]) == pytest.approx(0.5)


def test_min_k_is_the_mean_loss_of_the_least_likely_tokens() -> None:
    assert m.min_k([-1.0, -2.0, -3.0, -4.0, -5.0]) == 4.5  # 0.4 of 5 tokens are 2
    assert m.min_k([-1.0, -2.0]) == 2.0  # at least one
    assert m.min_k([-1.0, -2.0, -3.0, -4.0, -5.0], 0.2) == 5.0


def test_auc_is_high_where_members_score_higher() -> None:
    assert m.auc([3.0, 4.0], [1.0, 2.0])[0] == 1
    assert m.auc([-1.0, -3.0], [-2.0, -3.0])[0] == pytest.approx((1 + 1 + 0 + 0.5) / 4)


def test_privleak_has_muses_direction() -> None:
    assert m.privacy_leak(0.6, 0.6) == 0
    assert m.privacy_leak(1.0, 0.5) == pytest.approx(-100)  # all members told: nothing was forgotten
    assert m.privacy_leak(0.2, 0.5) == pytest.approx(60)  # (0.8 - 0.5) / 0.5: forgotten more than never read


def test_forget_quality_is_the_kolmogorov_smirnov_p_value() -> None:
    ratios = [0.1, 0.4, 0.7]
    assert m.forget_quality(ratios, ratios) == 1
    # Every ratio of one side below every ratio of the other: 2 of C(6, 3) orders are that far apart.
    assert m.forget_quality(ratios, [1.1, 1.4, 1.7]) == pytest.approx(2 / 20)
