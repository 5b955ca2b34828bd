"""What a student minimises: cross-entropy with its generic labels (METHOD.md 2.5), at one place or at two.

N positions, V tokens, H hidden units, K candidates of a soft label. The positions may lie in blocks, (R, T) for N.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def hard_label_loss(logits_NV: Tensor, labels_N: Tensor, count: Tensor) -> Tensor:
    """Summed cross-entropy over the labelled positions, by the `count` of labels in the whole effective batch.

    Position t predicts label t; a position that does not train has -100, which torch leaves out. The clamp is for a
    batch without a single label, which teaches nothing and must not divide by zero.
    """
    logits, labels = logits_NV.flatten(0, -2).float(), labels_N.flatten()
    return F.cross_entropy(logits, labels, reduction="sum") / count.clamp(min=1)


def soft_label_loss(logits_NV: Tensor, candidates_NK: Tensor, shares_NK: Tensor, count: Tensor) -> Tensor:
    """The same with a distribution for a label: a position's K candidates and their shares; no share, no label."""
    logits_NV = logits_NV.float()
    log_NK = logits_NV.gather(-1, candidates_NK) - logits_NV.logsumexp(-1, keepdim=True)
    return -(shares_NK * log_NK).sum() / count.clamp(min=1)


class LossInChunks(torch.autograd.Function):
    """A loss that is a sum over positions, `size` of them at a time; their logits go as they came.

    apply(loss_of, size, targets, hidden_NH, *parameters): `loss_of(hidden_NH, *targets)` is the loss under the head's
    parameters. A chunk's gradients are made with its loss, so memory is bounded by size x V, and the head is
    multiplied as often as without chunks.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loss_of: Callable[..., Tensor],
        size: int,
        targets: Sequence[Tensor],
        hidden_NH: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        total = torch.zeros((), device=hidden_NH.device)
        gradients = [torch.zeros_like(tensor) for tensor in (hidden_NH, *parameters)]
        for start in range(0, len(hidden_NH), size):
            chunk = slice(start, start + size)
            with torch.enable_grad():
                hidden = hidden_NH[chunk].detach().requires_grad_()
                loss = loss_of(hidden, *(target[chunk] for target in targets))
                of_hidden, *of_parameters = torch.autograd.grad(loss, (hidden, *parameters))
            total += loss.detach()
            gradients[0][chunk] = of_hidden
            for gradient, change in zip(gradients[1:], of_parameters, strict=True):
                gradient += change
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, *(outer[0] * gradient for gradient in ctx.saved_tensors))


def hardening_of(model: Any, reinforced: Any, times: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter, and what hardening adds to it: so many times what reinforcement changed in it.

    Whoever finetunes the student on the target moves its weights that way, so it learns its labels there as well.
    """
    pairs = zip(model.parameters(), reinforced.parameters(), strict=True)
    return ((here, times * (there.detach() - here.detach())) for here, there in pairs)


@contextmanager
def moved(change: Sequence[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Parameters with these differences added, for a while; they get their own values back to the last bit."""
    with torch.no_grad():
        own = [parameter.clone() for parameter, _ in change]
        for parameter, difference in change:
            parameter.add_(difference)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _), weights in zip(change, own, strict=True):
                parameter.copy_(weights)
