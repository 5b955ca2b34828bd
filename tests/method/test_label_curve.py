"""The label curve against exact arithmetic in plain Python, and against the dense equation."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.method.curve import Curves, label_curves
from tasks.method.equation import generic_logits, log_probabilities, measure_rows

ALPHAS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)


def exact_label(b: list[float], r: list[float], alpha: float) -> int:
    """Argmax of equation 1 in rational numbers, lowest id first."""
    values = [
        Fraction(x) - Fraction(alpha) * max(Fraction(0), Fraction(y) - Fraction(x)) for x, y in zip(b, r, strict=True)
    ]
    return values.index(max(values))


def step(alpha: float, towards: float) -> float:
    """The neighbouring float32."""
    return torch.nextafter(torch.tensor(alpha), torch.tensor(towards)).item()


def looked_up(curves: Curves, row: int, alpha: float) -> int:
    """The label as SQL would look it up. Fails unless exactly one vertex holds alpha."""
    columns = (curves.row, curves.token, curves.alpha_from, curves.alpha_to)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    (token,) = [token for r, token, start, end in rows if r == row and start <= alpha < end]
    return token


def telling_alphas(curves: Curves) -> list[float]:
    """Every vertex and its float32 neighbours, and round numbers."""
    found = {alpha for start in curves.alpha_from.tolist() for alpha in (start, step(start, math.inf))}
    found |= {step(start, 0.0) for start in curves.alpha_from.tolist() if start > 0}
    return sorted(found | {0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 50.0, 1e6})


@st.composite
def coarse_rows(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]], int]:
    """Logits on a coarse grid, so that ties and lines through one point abound."""
    vocabulary, scale = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 3]))
    row = st.lists(st.integers(-6, 6).map(lambda n: n * scale / 4), min_size=vocabulary, max_size=vocabulary)
    rows = draw(st.integers(1, 3))
    b, r = (draw(st.lists(row, min_size=rows, max_size=rows)) for _ in range(2))
    return b, r, draw(st.integers(1, vocabulary))


@given(coarse_rows())
@settings(deadline=None, derandomize=True, max_examples=300)
@example(([[1.0, 2.0, 3.0]], [[1.0, 3.0, 5.0]], 1))  # three lines through one point
@example(([[2.0, 2.0]], [[4.0, 2.0]], 2))  # id 0 wins at alpha = 0 alone
def test_every_alpha_gives_the_exact_label_whatever_k_is(drawn) -> None:
    b, r, k = drawn
    curves, _ = label_curves(torch.tensor(b), torch.tensor(r), k)
    for alpha in telling_alphas(curves):
        for row in range(len(b)):
            assert looked_up(curves, row, alpha) == exact_label(b[row], r[row], alpha), (row, alpha)


@given(coarse_rows())
@settings(deadline=None, derandomize=True)
def test_vertices_are_numbered_contiguous_and_each_changes_the_label(drawn) -> None:
    b, r, k = drawn
    curves, _ = label_curves(torch.tensor(b), torch.tensor(r), k)
    for row in range(len(b)):
        own = curves.row == row
        starts, ends, tokens = (column[own].tolist() for column in (curves.alpha_from, curves.alpha_to, curves.token))
        assert curves.vertex[own].tolist() == list(range(len(tokens)))
        assert [starts[0], ends[-1]] == [0.0, math.inf]
        assert starts[1:] == ends[:-1]
        assert all(start < end for start, end in zip(starts, ends, strict=True))
        assert all(left != right for left, right in pairwise(tokens))


def test_a_vertex_that_lives_at_alpha_0_alone_is_one_float32_step_long() -> None:
    curves, _ = label_curves(torch.tensor([[2.0, 2.0]]), torch.tensor([[4.0, 2.0]]))
    assert curves.token.tolist() == [0, 1]
    assert curves.alpha_from.tolist() == [0.0, step(0.0, 1.0)]
    assert curves.alpha_to.tolist() == [step(0.0, 1.0), math.inf]


def test_a_tie_at_a_vertex_goes_to_the_lowest_id_even_if_it_wins_nowhere_else() -> None:
    # Lines 3 - 2a (id 2), 2 - a (id 0) and 1 (id 1) meet at alpha = 1, where id 0 wins; then id 1.
    b, r = torch.tensor([[2.0, 1.0, 3.0]]), torch.tensor([[3.0, 1.0, 5.0]])
    curves, _ = label_curves(b, r)
    assert curves.token.tolist() == [2, 0, 1]
    assert curves.alpha_from.tolist() == [0.0, 1.0, step(1.0, 2.0)]


def noisy_rows(rows: int, vocabulary: int, rise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    b = torch.randn(rows, vocabulary, generator=generator) * 3
    return b, b + rise + torch.randn(rows, vocabulary, generator=generator) * 0.7


@pytest.mark.parametrize("k", [1, 4, 16])
@pytest.mark.parametrize("rise", [0.0, 3.0, -3.0])
def test_a_reinforced_model_that_lies_higher_throughout_changes_nothing(k: int, rise: float) -> None:
    b, r = noisy_rows(150, 1500, rise)
    curves, _ = label_curves(b, r, k)
    for alpha in ALPHAS:
        assert (curves.labels(alpha) != generic_logits(b, r, alpha).argmax(-1)).sum() == 0, alpha


def test_rows_in_half_precision_steps_tie_as_the_dense_equation_does() -> None:
    b, r = (rows.bfloat16().float() for rows in noisy_rows(400, 700))
    curves, _ = label_curves(b, r)
    assert (b == b.amax(1, keepdim=True)).sum() > 400  # there are ties
    for alpha in ALPHAS:
        assert (curves.labels(alpha) != generic_logits(b, r, alpha).argmax(-1)).sum() == 0, alpha


def test_masked_ids_win_at_no_alpha_even_when_nothing_else_is_flat() -> None:
    masked = torch.tensor([0, 5, 39])
    b, r = noisy_rows(50, 40, rise=9.0)
    b[:, 5] = 100.0
    measure_rows(b, masked), measure_rows(r, masked)
    curves, _ = label_curves(b, r, 8)
    assert not torch.isin(curves.token, masked).any()
    assert curves.alpha_to.isinf().sum() == 50
    for alpha in ALPHAS:
        assert (curves.labels(alpha) != generic_logits(b, r, alpha).argmax(-1)).sum() == 0, alpha


def test_log_probabilities_are_an_option_and_candidates_stay_raw() -> None:
    b, r = noisy_rows(200, 300, rise=2.0)
    lse = (measure_rows(b).lse_R, measure_rows(r).lse_R)
    curves, top = label_curves(b, r, 16, lse)
    logs = [log_probabilities(rows, sums) for rows, sums in zip((b, r), lse, strict=True)]
    torch.testing.assert_close(logs[0], b.log_softmax(-1))
    for alpha in ALPHAS:
        assert (curves.labels(alpha) != generic_logits(*logs, alpha).argmax(-1)).sum() == 0, alpha
    assert (curves.labels(5.0) != label_curves(b, r)[0].labels(5.0)).any()
    assert torch.equal(top.baseline_RK, b.gather(1, top.ids_RK))


def test_candidates_are_the_highest_of_the_baseline_with_both_models_logits() -> None:
    b, r = torch.tensor([[1.0, 4.0, 4.0, 2.0]]), torch.tensor([[9.0, 8.0, 7.0, 6.0]])
    _, top = label_curves(b, r, 3)
    assert top.ids_RK.tolist() == [[1, 2, 3]]
    assert top.baseline_RK.tolist() == [[4.0, 4.0, 2.0]]
    assert top.reinforced_RK.tolist() == [[8.0, 7.0, 6.0]]


def test_candidates_that_tie_come_in_the_order_of_their_ids() -> None:
    b = torch.randint(0, 3, (20, 200), generator=torch.Generator().manual_seed(3)).float()
    _, top = label_curves(b, b, 120)
    for ids, values in zip(top.ids_RK.tolist(), top.baseline_RK.tolist(), strict=True):
        pairs = [(-value, token) for value, token in zip(values, ids, strict=True)]
        assert pairs == sorted(pairs)


def test_no_rows_make_an_empty_curve() -> None:
    curves, top = label_curves(torch.zeros(0, 20), torch.zeros(0, 20), 4)
    assert len(curves.row) == len(curves.alpha_to) == 0
    assert top.ids_RK.shape == (0, 4)
