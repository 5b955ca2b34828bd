"""The blocks that a training reads, in the order in which it reads them.

The order is written down before the training begins and depends on nothing but the seed: step s sees draws s * batch to
(s + 1) * batch - 1, whoever computes them, in whatever portions. One permutation of all blocks follows the other, and a
batch may reach from one into the next, so that no pass ends on a batch of its last few blocks. Where text is retained,
the last blocks of every batch are drawn from it, in the same manner; from several files in turn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from storage.shards import read_shard
from tasks.contents import NO_LABEL
from tasks.method.projection import padded

COLUMNS = ("input_ids", "labels", "candidates", "shares")


@dataclass(frozen=True)
class Retained:
    """What is retained: files as `Examples` reads them, and how many blocks of each batch come from them."""

    paths: tuple[Path, ...]
    batch: int
    blocks: int


class Examples(Dataset[dict[str, np.ndarray]]):
    """`draws` blocks of an Arrow file with columns input_ids and labels (lists of equal length, -100 for no label).

    Soft labels lie in two more columns, K times as long: a position's `candidates` and their `shares` in its label.
    """

    def __init__(self, path: Path, draws: int, seed: int, retained: Retained | None = None) -> None:
        tables = [read_shard(file) for file in (path, *(retained.paths if retained else ()))]
        self._files = [{name: table.column(name) for name in COLUMNS if name in table.column_names} for table in tables]
        blocks, *others = map(len, tables)
        self._starts = np.cumsum([0, blocks, *others])
        if retained:
            self._order = order_of_both(blocks, others, draws // retained.batch, retained, seed)
        else:
            self._order = order_of(blocks, draws, seed)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, draw: int) -> dict[str, np.ndarray]:
        columns, block = self._place(draw)
        return {name: column[block].values.to_numpy() for name, column in columns.items()}

    def tokens(self, first: int, end: int) -> int:
        """Input tokens of the draws from `first` up to `end`."""
        places = map(self._place, range(first, end))
        return sum(len(columns["input_ids"][block].values) for columns, block in places)

    def _place(self, draw: int) -> tuple[dict[str, Any], int]:
        """The columns of the file that the draw comes from, and the block in it."""
        block = int(self._order[draw])
        file = int(np.searchsorted(self._starts, block, side="right")) - 1
        return self._files[file], block - int(self._starts[file])


def order_of(blocks: int, draws: int, seed: int) -> np.ndarray:
    """The block of every draw, [draws]: one seeded permutation of all blocks after another."""
    chance = np.random.default_rng(seed)
    passes = [chance.permutation(blocks) for _ in range(math.ceil(draws / blocks))]
    return np.concatenate(passes)[:draws]


def order_of_both(blocks: int, others: Sequence[int], steps: int, retained: Retained, seed: int) -> np.ndarray:
    """The block of every draw, [steps * batch]: in each batch the target's first, then retained ones, numbered on.

    `others`: blocks of each retained file. They take turns, so that none goes short beside a longer one.
    """
    each = retained.blocks
    first, rest = order_of(blocks, steps * (retained.batch - each), seed), np.empty(steps * each, np.int64)
    for number, length in enumerate(others):
        turns = rest[number :: len(others)]
        turns[:] = blocks + sum(others[:number]) + order_of(length, len(turns), seed + 1 + number)
    return np.concatenate([first.reshape(steps, -1), rest.reshape(steps, -1)], axis=1).reshape(-1)


def collate(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Pad on the right, where causal attention never looks, and shift labels as transformers expects them.

    Labels lie unshifted in our files (position t shall predict label t). The last position of a block never has one, so
    nothing falls off the end. Where an example has soft labels, `candidates` and `shares` (R, T, K) come beside,
    unshifted.
    """
    input_ids = padded([example["input_ids"] for example in examples])
    labels = padded([np.append(NO_LABEL, example["labels"][:-1]) for example in examples], NO_LABEL)
    hard = {"input_ids": input_ids, "labels": labels}
    return hard | soft_of(examples, input_ids.shape[1]) if any("shares" in row for row in examples) else hard


def unshifted(labels: torch.Tensor) -> torch.Tensor:
    """The labels (R, T) of `collate` as they lie in our files: position t predicts label t."""
    return torch.nn.functional.pad(labels, (0, 1), value=NO_LABEL)[:, 1:]


def soft_of(examples: Sequence[dict[str, np.ndarray]], longest: int) -> dict[str, torch.Tensor]:
    """candidates and shares (R, T, K), padded with shares of 0; a hard label is one candidate with a share of 1."""
    soft = [example if "shares" in example else hardened(example["labels"]) for example in examples]
    most = max(len(example["shares"]) // len(example["labels"]) for example in soft)
    candidates = torch.zeros(len(soft), longest, most, dtype=torch.long)
    shares = torch.zeros(len(soft), longest, most)
    for row, example in enumerate(soft):
        length = len(example["labels"])
        for whole, name in ((candidates, "candidates"), (shares, "shares")):
            values = torch.from_numpy(example[name].reshape(length, -1).copy())
            whole[row, :length, : values.shape[1]] = values
    return {"candidates": candidates, "shares": shares}


def hardened(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Hard labels in the form of soft ones."""
    there = labels != NO_LABEL
    return {"labels": labels, "candidates": np.where(there, labels, 0), "shares": there.astype(np.float32)}
