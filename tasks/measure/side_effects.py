"""Side effects: what unlearning cost on text near the target (the same genre, the same author, another cast)."""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.measure.perplexity import perplexity
from tasks.measure.rows import Measured


def side_effects(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, neighbours: Sequence[str], *, batch_size: int = 8
) -> Measured:
    """Perplexity on neighbouring text."""
    return replace(perplexity(model, tokenizer, neighbours, batch_size=batch_size), metric="neighbour_perplexity")
