"""Log-probabilities of token sequences under a causal model: the ground that the measures stand on.

Rows are padded on the right, where causal attention cannot see the padding, so a result does not depend on
its batch. All log-probabilities are fp32, whatever the model computes in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from storage.errors import BadInput


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one text as the model reads them (BOS if the tokenizer puts one, no EOS), with offsets."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@contextmanager
def measuring(model: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode without gradients; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Encoded]:
    """Each text with the tokenizer's own special tokens, except an EOS at the end: nothing follows an EOS."""
    if not texts:
        return []
    batch: Any = tokenizer(list(texts), return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    encoded = []
    rows = zip(batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"], strict=True)
    for ids, offsets, special in rows:
        end = len(ids)
        while end > 1 and special[end - 1] and ids[end - 1] == tokenizer.eos_token_id:
            end -= 1
        encoded.append(Encoded(list(ids[:end]), list(offsets[:end])))
    return encoded


def context_length(model: PreTrainedModel) -> int | None:
    """Positions that the model was made for; None where its configuration does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def require_room(model: PreTrainedModel, sequences: Sequence[Sequence[int]], extra: int = 0) -> None:
    """BadInput where a sequence, with `extra` tokens to come, is longer than the model's context or empty."""
    limit = context_length(model)
    for number, ids in enumerate(sequences):
        if not ids:
            raise BadInput(f"Text {number} has no token to start from and the tokenizer adds none: extend it.")
        if limit is not None and len(ids) + extra > limit:
            wanted = f"{len(ids)} tokens" + (f" and {extra} new ones" if extra else "")
            raise BadInput(f"Text {number} needs {wanted}, but the model's context is {limit}: shorten it.")


def batches(sequences: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Indices in groups of `size`, longest first: little padding, and memory runs out at once or never."""
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def token_log_probabilities(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], batch_size: int
) -> list[torch.Tensor]:
    """For each sequence of T ids T - 1 log-probabilities, of the second token on (fp32, on the CPU)."""
    result = [torch.empty(0)] * len(sequences)
    for rows in batches(sequences, batch_size):
        logits_RTV, ids_RT = _logits(model, [sequences[row] for row in rows])
        for place, row in enumerate(rows):
            length = len(sequences[row])
            logits_TV = logits_RTV[place, : length - 1].float()
            chosen_T = logits_TV.gather(1, ids_RT[place, 1:length, None])[:, 0]
            result[row] = (chosen_T - logits_TV.logsumexp(dim=-1)).cpu()
    return result


def next_log_probabilities(
    model: PreTrainedModel, contexts: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """(index of the context, log-probabilities (V) of the token after it), fp32 on the CPU, longest first."""
    for rows in batches(contexts, batch_size):
        logits_RTV, _ = _logits(model, [contexts[row] for row in rows])
        for place, row in enumerate(rows):
            yield row, logits_RTV[place, len(contexts[row]) - 1].float().log_softmax(dim=-1).cpu()


def position_logits(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """(index of a sequence of T ids, logits (T, V) of the token after each of them), fp32, longest first."""
    for rows in batches(sequences, batch_size):
        logits_RTV, _ = _logits(model, [sequences[row] for row in rows])
        for place, row in enumerate(rows):
            yield row, logits_RTV[place, : len(sequences[row])].float()


def _logits(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids_RT = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    mask_RT = torch.zeros_like(ids_RT)
    for row, ids in enumerate(sequences):
        ids_RT[row, : len(ids)] = torch.tensor(ids)
        mask_RT[row, : len(ids)] = 1
    ids_RT = ids_RT.to(model.device)
    output = model(input_ids=ids_RT, attention_mask=mask_RT.to(model.device), use_cache=False)
    return output.logits, ids_RT
