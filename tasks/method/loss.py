"""Cross-entropy on a label column (METHOD.md 2.5).

Trap: labels are NOT shifted: position t shall predict labels[t], where transformers would take labels[t + 1].
"""

import torch.nn.functional as F
from torch import Tensor

NO_LABEL = -100
"""The label of a position that does not train."""


def label_loss(logits_BTV: Tensor, labels_BT: Tensor, count: int | Tensor) -> Tensor:
    """Sum of the cross-entropies of the labelled positions, in fp32, divided by `count`.

    `count` is the number of labels in the whole optimizer step, not in this batch, so that the result does
    not depend on how the step is split. Only labelled rows are copied to fp32. Without any label: 0, gradient 0.
    """
    trained_BT = labels_BT != NO_LABEL
    logits_RV = logits_BTV[trained_BT].float()
    return F.cross_entropy(logits_RV, labels_BT[trained_BT], reduction="sum") / count
