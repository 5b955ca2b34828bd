"""Continuations of token sequences as a model writes them, by settings of ours alone."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from tasks.measure.loaded import LoadedModel
from tasks.measure.scoring import batches, measuring, require_room


def greedy(loaded: LoadedModel, contexts: Sequence[list[int]], new_tokens: int) -> list[list[int]]:
    """The ids that greedy decoding puts behind each context, up to EOS. BadInput where there is no room for them."""
    require_room(loaded.model, contexts, extra=new_tokens)
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "num_beams": 1}
    written: list[list[int]] = [[] for _ in contexts]
    with measuring(loaded.model):
        for rows in batches(contexts, loaded.batch_size, extra=new_tokens):
            of_batch = continued(loaded, [contexts[row] for row in rows], **settings)
            for row, ids in zip(rows, of_batch, strict=True):
                written[row] = ids
    return written


def continued(loaded: LoadedModel, contexts: Sequence[list[int]], **settings: Any) -> list[list[int]]:
    """The ids that follow each context in one batch, up to EOS, with padding behind it.

    `settings` stand in the place of the model's own: passed to generate they would be mixed with them (a repetition
    penalty, a temperature).
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    own = model.generation_config
    end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    pad = next((token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id) if token is not None), 0)
    longest = max(map(len, contexts))
    # On the left, so that every row ends with its last token; generate counts positions by the mask.
    ids_RT = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in contexts], device=model.device)
    mask_RT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in contexts], device=model.device)
    model.generation_config = GenerationConfig(**settings, eos_token_id=end, pad_token_id=pad)
    try:
        output_RT: torch.Tensor = model.generate(ids_RT, attention_mask=mask_RT)
    finally:
        model.generation_config = own
    return [list(ids) for ids in output_RT[:, longest:].tolist()]
