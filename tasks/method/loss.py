"""What a student minimises: cross-entropy with its generic labels (METHOD.md 2.5), at one place or at two.

R blocks of T positions, V tokens, K candidates of a soft label.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def hard_label_loss(logits_RTV: Tensor, labels_RT: Tensor, count: Tensor) -> Tensor:
    """Summed cross-entropy over the labelled positions, by the `count` of labels in the whole effective batch.

    Position t predicts label t; a position that does not train has -100, which torch leaves out. The clamp is for a
    batch without a single label, which teaches nothing and must not divide by zero.
    """
    logits, labels = logits_RTV.flatten(0, 1).float(), labels_RT.flatten()
    return F.cross_entropy(logits, labels, reduction="sum") / count.clamp(min=1)


def soft_label_loss(logits_RTV: Tensor, candidates_RTK: Tensor, shares_RTK: Tensor, count: Tensor) -> Tensor:
    """The same with a distribution for a label: a position's K candidates and their shares; no share, no label."""
    logits_RTV = logits_RTV.float()
    log_RTK = logits_RTV.gather(2, candidates_RTK) - logits_RTV.logsumexp(2, keepdim=True)
    return -(shares_RTK * log_RTK).sum() / count.clamp(min=1)


def hardening_of(model: Any, reinforced: Any, times: float) -> list[Tensor]:
    """What hardening adds to each parameter: so many times what reinforcement changed in it.

    Whoever finetunes the student on the target moves its weights that way, so it learns its labels there as well.
    """
    pairs = zip(model.parameters(), reinforced.parameters(), strict=True)
    return [times * (there.detach() - here.detach()) for here, there in pairs]


@contextmanager
def moved(model: Any, change: list[Tensor]) -> Iterator[None]:
    """The model with other weights, for a while; it gets its own back to the last bit."""
    parameters = list(model.parameters())
    with torch.no_grad():
        own = [parameter.clone() for parameter in parameters]
        for parameter, difference in zip(parameters, change, strict=True):
            parameter.add_(difference)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, own, strict=True):
                parameter.copy_(weights)
