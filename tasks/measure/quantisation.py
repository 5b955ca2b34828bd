"""Quantisation: does rounding the weights bring back what small updates took away?

Round-to-nearest, symmetric, with one scale for each group of neighbouring inputs; linear layers only, not the embedding
nor the output projection, as the usual libraries do. The arithmetic stays in floating point: the rounding is tested.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from storage.errors import BadInput
from tasks.measure.familiarity import by_probability
from tasks.measure.perplexity import perplexity
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured

FULL = "full"


def quantisation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    bits: int | None,
    group: int = 64,
    batch_size: int = 8,
) -> list[Measured]:
    """Familiarity, and perplexity on the texts if any, with weights rounded to `bits` (None: as they are)."""
    if bits is None:
        return measured_as(model, tokenizer, prompts, texts, task=FULL, batch_size=batch_size)
    with quantised(model, bits, group):
        return measured_as(model, tokenizer, prompts, texts, task=f"{bits} bits", batch_size=batch_size)


def measured_as(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    *,
    task: str,
    batch_size: int,
) -> list[Measured]:
    """The two measures of a model, whatever form its weights have."""
    asked = [replace(prompt, generic=()) for prompt in prompts]
    familiar = by_probability(model, tokenizer, asked, batch_size=batch_size)
    found = [replace(familiar, metric="quantised_familiarity", task=task)]
    if texts:
        general = perplexity(model, tokenizer, texts, batch_size=batch_size)
        found.append(replace(general, metric="quantised_perplexity", task=task))
    return found


@contextmanager
def quantised(model: PreTrainedModel, bits: int, group: int) -> Iterator[None]:
    """Rounds the weights of the linear layers; puts the old ones back at the end."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not model.get_output_embeddings()
    ]
    if not layers:
        raise BadInput(f"Expected linear layers to round in a {type(model).__name__}, found none.")
    originals = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            across = layer.weight.data.T if isinstance(layer, Conv1D) else layer.weight.data  # outputs, inputs
            near = rounded(across, bits, group)
            layer.weight.data = near.T if isinstance(layer, Conv1D) else near
        yield
    finally:
        for layer, weight in zip(layers, originals, strict=True):
            layer.weight.data = weight


def rounded(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """The weight (outputs, inputs) on the grid of its groups; no entry moves by more than half a step of its group."""
    outputs, inputs = weight.shape
    padded = nn.functional.pad(weight.float(), (0, -inputs % group)).view(outputs, -1, group)
    top = 2 ** (bits - 1) - 1
    step = padded.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / top
    near = (padded / step).round().clamp(-top, top) * step
    result: torch.Tensor = near.view(outputs, -1)[:, :inputs].to(weight.dtype)
    return result
