"""A model that can be measured."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model and its tokenizer in memory, asked so many texts at a time."""

    model: Any
    tokenizer: Any
    batch_size: int = 8
