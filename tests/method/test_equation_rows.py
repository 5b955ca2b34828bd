"""Equation 1, the substitution of forbidden tokens and masking, against plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.method.equation import forbid, generic_logits, log_probabilities, measure_rows

quarters = st.integers(-12, 12).map(lambda n: n / 4)


def matrix(rows: int, columns: int) -> st.SearchStrategy[list[list[float]]]:
    row = st.lists(quarters, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


@given(matrix(3, 6), matrix(3, 6), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
@settings(deadline=None, derandomize=True)
def test_equation_1_is_what_the_paper_writes(b, r, alpha) -> None:
    expected = [[x - alpha * max(0.0, y - x) for x, y in zip(*rows, strict=True)] for rows in zip(b, r, strict=True)]
    found = generic_logits(torch.tensor(b), torch.tensor(r), alpha)
    assert found.tolist() == expected
    labels = generic_logits(torch.tensor(b), torch.tensor(r), alpha).argmax(-1)
    assert labels.tolist() == [row.index(max(row)) for row in expected]


@pytest.mark.parametrize("columns", [3, 16, 33, 1000, 40_000])
def test_the_lowest_id_wins_ties_in_rows_of_any_length(columns: int) -> None:
    rows = torch.full((2, columns), 1.5)
    assert generic_logits(rows, rows, 5.0).argmax(-1).tolist() == [0, 0]
    rows[:, 0] = 1.0
    rows[:, columns // 2] = rows[:, columns - 1] = 2.0
    assert generic_logits(rows, rows, 5.0).argmax(-1).tolist() == [columns // 2] * 2


def test_a_forbidden_token_gets_the_mean_of_its_row() -> None:
    b = torch.tensor([[4.0, 0.0, 2.0], [5.0, 1.0, 3.0], [9.0, 0.0, 0.0]])
    mean = measure_rows(b).mean_R
    assert mean.tolist() == [2.0, 3.0, 3.0]
    forbid(b, mean, torch.tensor([1, 2, 2]), torch.tensor([0, 0, 2]))
    assert b.tolist() == [[4.0, 0.0, 2.0], [3.0, 1.0, 3.0], [3.0, 0.0, 3.0]]


def test_masked_ids_are_never_labels_and_count_in_no_mean() -> None:
    masked = torch.tensor([1, 3])
    b, r = (torch.tensor([[1.0, float("nan"), 3.0, 90.0]]) for _ in range(2))
    sums = measure_rows(b, masked)
    measure_rows(r, masked)
    assert sums.mean_R.tolist() == [2.0]
    assert sums.lse_R.item() == pytest.approx(math.log(math.exp(1) + math.exp(3)))
    for alpha in (0.0, 1.0, 50.0):
        assert generic_logits(b, r, alpha).argmax(-1).tolist() == [2]
        assert generic_logits(log_probabilities(b, sums.lse_R), r, alpha).argmax(-1).tolist() == [2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite_are_refused_by_number(bad: float) -> None:
    rows = torch.zeros(5, 4)
    rows[3, 2] = bad
    with pytest.raises(ValueError, match=r"1 of 5 rows \(rows \[3\]\)"):
        measure_rows(rows)


def test_half_precision_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="expected float32 logits"):
        measure_rows(torch.zeros(2, 4, dtype=torch.bfloat16))
