"""Perplexity on held-out text: what unlearning must not raise.

Every token but a document's first is predicted exactly once: windows share one token, the last of one being
the first context of the next. So the number of tokens does not depend on the window's length. Every window begins as
the tokenizer begins a text: without its BOS, Gemma 3 reads at a perplexity of 39 what it reads at 14 with it.
"""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from storage.errors import BadInput
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Item, Measured
from tasks.measure.scoring import Encoded, context_length, encode, log_probability, token_statistics

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
    encoded = encode(loaded.tokenizer, documents)
    length = _window_length(loaded.model, window, max((text.opening for text in encoded), default=0))
    starts = _spread([(number, at) for number, text in enumerate(encoded) for at in _starts(text, length)], limit)
    windows = [_window(encoded[document], start, length) for document, start in starts]
    firsts = [max(1, encoded[document].opening + (start > 0)) for document, start in starts]
    scored = token_statistics(loaded, windows, firsts, log_probability)
    nats = [-float(row.double().sum()) for row in scored]
    tokens = [len(ids) - first for ids, first in zip(windows, firsts, strict=True)]
    items = []
    for number, (document, start) in enumerate(starts):
        text = encoded[document]
        offsets = text.offsets[text.opening + start :][: length - text.opening]
        shown = documents[document][offsets[0][0] : offsets[-1][1]][:SHOWN_CHARACTERS]
        details = {"document": document, "first_token": start, "tokens": tokens[number], "window": length}
        items.append(Item(number, shown, "", "", nats[number] / tokens[number], details))
    value, stderr = _ratio(np.array(nats), np.array(tokens, dtype=np.float64))
    return Measured("perplexity", value, stderr, len(items), tuple(items))


def _starts(text: Encoded, length: int) -> range:
    """Where windows begin, in tokens of the text. Each predicts what follows its first token; an opened text's first
    window that one too."""
    tokens = len(text.ids) - text.opening
    return range(0, max(tokens - 1, min(tokens, text.opening, 1)), length - text.opening - 1)


def _window(text: Encoded, start: int, length: int) -> list[int]:
    opening = text.opening
    return text.ids[:opening] + text.ids[opening + start :][: length - opening]


def _spread(starts: list[tuple[int, int]], limit: int | None) -> list[tuple[int, int]]:
    if not starts:
        raise BadInput("The held-out text has no two tokens in a row: give more of it.")
    if limit is None or limit >= len(starts):
        return starts
    return [starts[place] for place in np.linspace(0, len(starts) - 1, limit).round().astype(int)]


def _window_length(model: PreTrainedModel, window: int | None, opening: int) -> int:
    context = context_length(model)
    length = window or min(context or LONGEST_DEFAULT, LONGEST_DEFAULT)
    if length < 2 + opening or (context is not None and length > context):
        least = 2 + opening
        raise BadInput(f"A window must be {least} to {context or 'any number of'} tokens long, not {window}.")
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
