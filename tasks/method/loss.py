"""Cross-entropy on a label column (METHOD.md 2.5).

Trap: labels are NOT shifted: position t shall predict labels[t], where transformers would take labels[t + 1].
"""

import torch.nn.functional as F
from torch import Tensor

NO_LABEL = -100
"""The label of a position that does not train."""


def label_loss(logits_BTV: Tensor, labels_BT: Tensor, count: int | Tensor) -> Tensor:
    """Sum of the cross-entropies of the labelled positions, in fp32, divided by `count`.

    `count` is the number of labels in the whole optimizer step, not in this batch, so how the step is split
    does not matter. Only labelled rows are copied to fp32. Without a label: 0, with a gradient of 0.
    """
    trained_BT = labels_BT != NO_LABEL
    logits_RV = logits_BTV[trained_BT].float()
    return F.cross_entropy(logits_RV, labels_BT[trained_BT], reduction="sum") / count
