"""Log-probabilities of token sequences under a causal model: the ground that the measures stand on.

Rows are padded on the right, where causal attention cannot see the padding, so a result does not depend on
its batch. All log-probabilities are fp32, whatever the model computes in. Rows of logits are seen a chunk at a
time, and only what is said of a token leaves.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from storage.errors import BadInput
from tasks.measure.loaded import LoadedModel
from tasks.method.projection import logits_of, padded
from tasks.method.tokens import opening

BATCH_TOKENS = 1 << 14
"""Tokens of a batch, padding included: their hidden states are held at once, their logits never."""

Statistic = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What is said of rows of logits [R, V] and the tokens that follow them [R]: [R, ...]."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one text as the model reads them (BOS if the tokenizer puts one, no EOS), with offsets."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    opening: int
    """How many special tokens the text begins with."""


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
        encoded.append(Encoded(list(ids[:end]), list(offsets[:end]), opening(special[:end])))
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
            wanted = f"{len(ids)} tokens" + (f" and {extra} new ones" if extra > 0 else "")
            raise BadInput(f"Text {number} needs {wanted}, but the model's context is {limit}: shorten it.")


def batches(sequences: Sequence[Sequence[int]], size: int, extra: int = 0) -> Iterator[list[int]]:
    """Indices in groups of up to `size`, longest first: little padding, and memory runs out at once or never.

    A group has at most BATCH_TOKENS tokens with its padding and `extra` tokens to come, or is one sequence.
    """
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    start = 0
    while start < len(order):
        room = BATCH_TOKENS // (len(sequences[order[start]]) + extra)
        group = order[start : start + max(1, min(size, room))]
        yield group
        start += len(group)


def token_log_probabilities(loaded: LoadedModel, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """For each sequence of T ids T - 1 log-probabilities, of the second token on (fp32, on the CPU)."""
    return token_statistics(loaded, sequences, [1] * len(sequences), log_probability)


def log_probability(logits_RV: torch.Tensor, next_R: torch.Tensor) -> torch.Tensor:
    """Of each row's next token."""
    return logits_RV.gather(1, next_R[:, None])[:, 0] - logits_RV.logsumexp(dim=-1)


def likelihood(logits_RV: torch.Tensor, next_R: torch.Tensor) -> torch.Tensor:
    """[R, 2]: log-probability of each row's next token, and whether greedy decoding takes it."""
    highest_R = logits_RV.argmax(dim=-1) == next_R
    return torch.stack([log_probability(logits_RV, next_R), highest_R.float()], dim=1)


def token_statistics(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], firsts: Sequence[int], statistic: Statistic
) -> list[torch.Tensor]:
    """For each sequence of T ids, what the statistic says of its tokens from `first` (at least 1) on: [T - first, ...].

    The statistic sees rows of logits [R, V] with the tokens that follow [R], a chunk at a time. Sequences that differ
    in their last token alone share a pass. BadInput for one that is empty or longer than the model's context.
    """
    model = loaded.model
    require_room(model, sequences, extra=-1)  # nothing follows the last token, so it is not read
    sharing: dict[tuple[int, ...], list[int]] = {}
    for index, ids in enumerate(sequences):
        if len(ids) > 1:
            sharing.setdefault(tuple(ids[:-1]), []).append(index)
    inputs = list(sharing)
    result = [torch.empty(0, 2)] * len(sequences)  # a sequence of one token has nothing to say, in any statistic
    for rows in batches(inputs, loaded.batch_size):
        places = [(place, index) for place, row in enumerate(rows) for index in sharing[inputs[row]]]
        ids_BT = padded([inputs[row] for row in rows])
        spans = [torch.arange(firsts[i] - 1, len(sequences[i]) - 1) + place * ids_BT.shape[1] for place, i in places]
        following = torch.tensor([token for _, i in places for token in sequences[i][firsts[i] :]], device=model.device)
        with measuring(model):
            source = logits_of(model)
            chunks = zip(
                source.logits(ids_BT, torch.cat(spans)), torch.split(following, source.chunk_rows), strict=True
            )
            values = torch.cat([statistic(logits_RV, next_R) for logits_RV, next_R in chunks]).cpu()
        for (_, index), of_sequence in zip(places, torch.split(values, [len(span) for span in spans]), strict=True):
            result[index] = of_sequence
    return result


def next_log_probabilities(
    loaded: LoadedModel, contexts: Sequence[Sequence[int]]
) -> Iterator[tuple[int, torch.Tensor]]:
    """(index of the context, log-probabilities (V) of the token after it), fp32 on the CPU, longest first."""
    source = logits_of(loaded.model)
    for rows in batches(contexts, loaded.batch_size):
        ids_BT = padded([contexts[row] for row in rows])
        last_B = torch.tensor([place * ids_BT.shape[1] + len(contexts[row]) - 1 for place, row in enumerate(rows)])
        of_batch = iter(rows)
        for logits_RV in source.logits(ids_BT, last_B):
            for log_V in logits_RV.log_softmax(dim=-1).cpu():
                yield next(of_batch), log_V
