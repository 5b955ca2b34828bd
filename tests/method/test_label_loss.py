"""The loss on an unshifted label column, against plain Python."""

import math

import pytest
import torch

from tasks.method.loss import label_loss


def cross_entropy(row: list[float], label: int) -> float:
    return math.log(sum(math.exp(x) for x in row)) - row[label]


def test_position_t_is_scored_against_label_t_and_unlabelled_ones_are_left_out() -> None:
    logits = torch.tensor([[[1.0, 2.0, 0.5], [0.0, 3.0, 1.0], [2.0, 2.0, 2.0]]])
    labels = torch.tensor([[2, -100, 1]])
    expected = (cross_entropy([1.0, 2.0, 0.5], 2) + cross_entropy([2.0, 2.0, 2.0], 1)) / 2
    assert label_loss(logits, labels, 2).item() == pytest.approx(expected)


def test_splitting_a_step_changes_neither_loss_nor_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 6, 9, generator=generator).requires_grad_()
    labels = torch.randint(0, 9, (4, 6), generator=generator)
    labels[0, 1:] = -100  # the parts hold different numbers of labels
    count = int((labels != -100).sum())
    whole = label_loss(logits, labels, count)
    (expected,) = torch.autograd.grad(whole, logits)
    parts = sum(label_loss(logits[i : i + 1], labels[i : i + 1], count) for i in range(4))
    assert parts.item() == pytest.approx(whole.item())
    torch.testing.assert_close(torch.autograd.grad(parts, logits)[0], expected)


def test_logits_in_half_precision_are_summed_in_fp32() -> None:
    logits = torch.randn(2, 50, 300, generator=torch.Generator().manual_seed(2)).bfloat16()
    labels = torch.zeros(2, 50, dtype=torch.long)
    loss = label_loss(logits, labels, 100)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(label_loss(logits.float(), labels, 100).item())


def test_a_batch_without_labels_costs_nothing() -> None:
    logits = torch.randn(1, 3, 5).requires_grad_()
    loss = label_loss(logits, torch.full((1, 3), -100), 7)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
