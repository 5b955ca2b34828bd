"""The blocks that a training reads, in the order in which it reads them.

The order is written down before the training begins and depends on nothing but the seed: step s sees draws s * batch to
(s + 1) * batch - 1, whoever computes them, in whatever portions. One permutation of all blocks follows the other, and a
batch may reach from one into the next, so that no pass ends on a batch of its last few blocks.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from storage.tables import read_shard

NO_LABEL = -100


class Examples(Dataset[dict[str, np.ndarray]]):
    """`draws` blocks of an Arrow file with columns input_ids and labels (lists of equal length, -100 for no label)."""

    def __init__(self, path: Path, draws: int, seed: int) -> None:
        table = read_shard(path)
        self._columns = {name: table.column(name) for name in ("input_ids", "labels")}
        self._order = order_of(len(table), draws, seed)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, draw: int) -> dict[str, np.ndarray]:
        block = int(self._order[draw])
        return {name: column[block].values.to_numpy() for name, column in self._columns.items()}

    def tokens(self, first: int, end: int) -> int:
        """Input tokens of the draws from `first` up to `end`."""
        ids = self._columns["input_ids"]
        return sum(len(ids[int(block)].values) for block in self._order[first:end])


def order_of(blocks: int, draws: int, seed: int) -> np.ndarray:
    """The block of every draw, [draws]: one seeded permutation of all blocks after another."""
    chance = np.random.default_rng(seed)
    passes = [chance.permutation(blocks) for _ in range(math.ceil(draws / blocks))]
    return np.concatenate(passes)[:draws]


def collate(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Pad on the right, where causal attention never looks, and shift labels as transformers expects them.

    Labels lie unshifted in our files (position t shall predict label t). The last position of a block never has one, so
    nothing falls off the end.
    """
    longest = max(len(example["input_ids"]) for example in examples)
    input_ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), NO_LABEL, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        input_ids[row, :length] = torch.from_numpy(example["input_ids"].astype(np.int64))
        labels[row, 1:length] = torch.from_numpy(example["labels"][:-1].astype(np.int64))
    return {"input_ids": input_ids, "labels": labels}
