"""Soft labels against the definition, in plain Python."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.method.equation import generic_logits, soft_labels

ROW = st.lists(st.floats(-8, 8, width=32), min_size=3, max_size=6)


def by_definition(ids: list[int], v: list[float], label: int, soft: float) -> dict[int, float]:
    """The share of every token in the label of one position."""
    if label not in ids:
        return {label: 1.0}
    whole = sum(math.exp(x) for x in v)
    return {token: soft * math.exp(x) / whole + (1 - soft) * (token == label) for token, x in zip(ids, v, strict=True)}


@given(row=ROW, label=st.integers(0, 7), soft=st.floats(0, 1))
def test_shares_are_the_softmax_of_equation_1_beside_the_hard_label(row: list[float], label: int, soft: float) -> None:
    ids = list(range(len(row)))
    kept, shares = soft_labels(torch.tensor([ids]), torch.tensor([row]), torch.tensor([label]), soft)
    found: dict[int, float] = {}
    for token, share in zip(kept[0].tolist(), shares[0].tolist(), strict=True):
        found[token] = found.get(token, 0.0) + share
    for token, share in by_definition(ids, row, label, soft).items():
        assert found.pop(token) == pytest.approx(share, abs=1e-5)
    assert all(share == 0 for share in found.values())


def test_what_the_reinforced_model_raises_loses_its_share() -> None:
    b_RK, r_RK = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[3.0, 1.0, 0.0]])
    ids_RK = torch.tensor([[10, 11, 12]])
    _, before = soft_labels(ids_RK, generic_logits(b_RK, r_RK, 0.0), torch.tensor([10]), 1.0)
    _, after = soft_labels(ids_RK, generic_logits(b_RK, r_RK, 5.0), torch.tensor([11]), 1.0)
    assert before[0].argmax() == 0
    assert after[0, 0] < 0.02
    assert after[0, 1] / after[0, 2] == pytest.approx(before[0, 1] / before[0, 2])


def test_the_candidates_given_are_left_as_they_are() -> None:
    ids_RK = torch.tensor([[1, 2]])
    soft_labels(ids_RK, torch.zeros(1, 2), torch.tensor([5]), 1.0)
    assert ids_RK.tolist() == [[1, 2]]
