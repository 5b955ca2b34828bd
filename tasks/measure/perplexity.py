"""Perplexity on held-out text: what unlearning must not raise.

Every token but a document's first is predicted exactly once: windows share one token, the last of one being
the first context of the next. So the number of tokens does not depend on the window's length.
"""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from storage.errors import BadInput
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Item, Measured
from tasks.measure.scoring import context_length, encode, token_log_probabilities

SHOWN_CHARACTERS = 200  # of a window's text, in its item
LONGEST_DEFAULT = 1024
"""Tokens of a window where nobody says how many: one of a whole long context fills the memory and tells little more."""


def perplexity(
    loaded: LoadedModel, documents: Sequence[str], window: int | None = None, limit: int | None = None
) -> Measured:
    """Token-weighted perplexity over the documents' windows; an item's score is nats per token.

    `window` is in tokens (default: the model's context, at most 1024; an item's
    details say it); `limit` windows are spread evenly over the text.
    """
    length = _window_length(loaded.model, window)
    encoded = encode(loaded.tokenizer, documents)
    starts = _spread(
        [(number, at) for number, text in enumerate(encoded) for at in range(0, len(text.ids) - 1, length - 1)],
        limit,
    )
    windows = [encoded[document].ids[start : start + length] for document, start in starts]
    nats = [-float(row.double().sum()) for row in token_log_probabilities(loaded, windows)]
    tokens = [len(ids) - 1 for ids in windows]
    items = []
    for number, (document, start) in enumerate(starts):
        offsets = encoded[document].offsets[start : start + length]
        shown = documents[document][offsets[0][0] : offsets[-1][1]][:SHOWN_CHARACTERS]
        details = {"document": document, "first_token": start, "tokens": tokens[number], "window": length}
        items.append(Item(number, shown, "", "", nats[number] / tokens[number], details))
    value, stderr = _ratio(np.array(nats), np.array(tokens, dtype=np.float64))
    return Measured("perplexity", value, stderr, len(items), tuple(items))


def _spread(starts: list[tuple[int, int]], limit: int | None) -> list[tuple[int, int]]:
    if not starts:
        raise BadInput("The held-out text has no two tokens in a row: give more of it.")
    if limit is None or limit >= len(starts):
        return starts
    return [starts[place] for place in np.linspace(0, len(starts) - 1, limit).round().astype(int)]


def _window_length(model: PreTrainedModel, window: int | None) -> int:
    context = context_length(model)
    length = window or min(context or LONGEST_DEFAULT, LONGEST_DEFAULT)
    if length < 2 or (context is not None and length > context):
        raise BadInput(f"A window must be 2 to {context or 'any number of'} tokens long, not {window}.")
    return length


def _ratio(nats: np.ndarray, tokens: np.ndarray) -> tuple[float, float | None]:
    """exp(sum nats / sum tokens) and its standard error: a ratio of sums, by the delta method."""
    mean = float(nats.sum() / tokens.sum())
    count = len(nats)
    if count < 2:
        return float(np.exp(mean)), None
    spread = float(((nats - mean * tokens) ** 2).sum())
    stderr = float(np.sqrt(count / (count - 1) * spread) / tokens.sum())
    return float(np.exp(mean)), float(np.exp(mean)) * stderr
