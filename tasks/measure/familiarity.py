"""Familiarity: how much of the target a model still shows (METHOD.md 4), by probability and by completion.

Continuations are tokenised together with their prompt, as the model would read them. A token that straddles
the seam counts as part of the continuation: the value then includes the chance of repeating the prompt's last
characters, and the item's details say how many (`straddled`).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerBase

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.errors import BadInput
from tasks.measure.generation import greedy
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt, joined, mentions
from tasks.measure.rows import Item, Measured, mean_of
from tasks.measure.scoring import (
    Statistic,
    encode,
    log_probability,
    measuring,
    next_log_probabilities,
    require_room,
    token_statistics,
)
from tasks.measure.tree import continued_log_probabilities

NEXT_TOKENS = 10  # of the paper's next-token table
NEGLIGIBLE = math.log(1e-6)  # a continuation whose first token is rarer is not followed: it can add at most this
SHOWN = 10  # continuations listed in an item
NAMES = 16  # of a prompt that are begun: a dictionary would give it a thousand
WORD = re.compile(r"\S+\s*")
TAIL_WORDS = 3  # of a prompt: what stands before them moves no token behind it
PROBES = 16  # continuations that are tokenised behind the whole prompt

_Split = tuple[tuple[int, ...], int, int]
"""Ids of a prompt with a continuation, the first of the continuation, the characters of the prompt that it holds."""


@dataclass(slots=True)
class _Continuation:
    """One continuation of one prompt as tokens, and its log-probability once known."""

    text: str
    context: tuple[int, ...]
    ids: tuple[int, ...]
    straddled: int  # characters of the prompt in the continuation's first token
    log_probability: float = field(default=-math.inf)


def by_probability(loaded: LoadedModel, prompts: Sequence[Prompt]) -> Measured:
    """Mean probability mass on the idiosyncratic continuations; for single tokens the paper's measure.

    The mass of a prompt is the summed probability of its continuations' token strings, none of which starts
    with another. Prompts without idiosyncratic continuations show their next tokens and are not scored.
    """
    if not any(prompt.idiosyncratic for prompt in prompts):
        raise BadInput("No prompt names an idiosyncratic continuation: give some, or a dictionary to take them from.")
    model, tokenizer = loaded.model, loaded.tokenizer
    contexts = [tuple(text.ids) for text in encode(tokenizer, [p.prompt.rstrip(" ") for p in prompts])]
    peculiar = [_continuations(tokenizer, prompt.prompt, prompt.idiosyncratic) for prompt in prompts]
    generic = [_continuations(tokenizer, prompt.prompt, prompt.generic) for prompt in prompts]
    everything = [*chain(*peculiar, *generic)]
    require_room(model, [*contexts, *(each.context + each.ids for each in everything)])
    with measuring(model):
        tops = _score_first_tokens(loaded, contexts, everything)
        _score_later_tokens(loaded, [each for each in everything if len(each.ids) > 1])
    items = []
    for number, prompt in enumerate(prompts):
        table = [[_text_of(tokenizer, contexts[number], token), p] for token, p in tops[contexts[number]]]
        items.append(_probability_item(number, prompt, peculiar[number], generic[number], table))
    return mean_of("familiarity_probability", items)


def when_begun(loaded: LoadedModel, prompts: Sequence[Prompt], given: int) -> Measured | None:
    """Mean probability of the rest of a name behind its prompt and its first `given` tokens; of each prompt the first
    NAMES that are longer. None where no name is."""
    names = [
        [each for each in _continuations(loaded.tokenizer, p.prompt, p.idiosyncratic[:NAMES]) if len(each.ids) > given]
        for p in prompts
    ]
    everything = list(chain(*names))
    contexts = [each.context + each.ids[: given - 1] for each in everything]
    continued = [each.ids[given - 1 :] for each in everything]
    require_room(loaded.model, [context + rest for context, rest in zip(contexts, continued, strict=True)])
    with measuring(loaded.model):
        logs = continued_log_probabilities(loaded, contexts, continued)
    for each, of_the_rest in zip(everything, logs, strict=True):
        each.log_probability = of_the_rest
    items = [
        Item(number, prompt.prompt, " | ".join(each.text for each in longer), "", _mass(longer) / len(longer))
        for number, (prompt, longer) in enumerate(zip(prompts, names, strict=True))
        if longer
    ]
    return mean_of("prefilled_familiarity", items, f"{given} token{'s' * (given > 1)}") if items else None


def means_of_tokens(
    loaded: LoadedModel, pairs: Sequence[tuple[str, str]], statistic: Statistic = log_probability
) -> list[float]:
    """Of each (prompt, continuation) the mean over the continuation's tokens of what the statistic says of one."""
    asked = [each for prompt, text in pairs for each in _continuations(loaded.tokenizer, prompt, [text])]
    firsts = [max(1, len(each.context)) for each in asked]
    rows = token_statistics(loaded, [each.context + each.ids for each in asked], firsts, statistic)
    return [float(row_T.double().mean()) for row_T in rows]


def _continuations(tokenizer: PreTrainedTokenizerBase, prompt: str, texts: Sequence[str]) -> list[_Continuation]:
    """The texts as tokens after the prompt; one that starts with another's tokens is left to that one."""
    continuations: dict[tuple[int, ...], _Continuation] = {}
    for text, (ids, first, straddled) in zip(texts, _tokenised_behind(tokenizer, prompt, texts), strict=True):
        if first == len(ids):
            raise BadInput(f"The continuation {text!r} of {prompt!r} has no token of its own: remove it.")
        continuations[ids] = _Continuation(text, ids[:first], ids[first:], straddled)
    return [
        continuation
        for ids, continuation in continuations.items()
        if not any(ids[:cut] in continuations for cut in range(1, len(ids)))
    ]


def _tokenised_behind(tokenizer: PreTrainedTokenizerBase, prompt: str, texts: Sequence[str]) -> list[_Split]:
    """The texts behind the prompt; a thousand behind its last words alone, where a few show the same tokens there."""
    tail = "".join(WORD.findall(prompt)[-TAIL_WORDS:])
    probes = texts[:: len(texts) // PROBES + 1]
    whole = _splits(tokenizer, prompt, probes)
    if probes == texts:
        return whole
    behind_tail = dict(zip(texts, _splits(tokenizer, tail, texts), strict=True))
    (prompt_ids, prompt_end, _), (tail_ids, tail_end, _) = whole[0], behind_tail[texts[0]]
    splits = [
        (prompt_ids[: prompt_end + first - tail_end] + ids[first:], prompt_end + first - tail_end, straddled)
        for ids, first, straddled in behind_tail.values()
    ]
    same = all(ids[:first] == tail_ids[:first] for ids, first, _ in behind_tail.values())
    return splits if same and splits[:: len(texts) // PROBES + 1] == whole else _splits(tokenizer, prompt, texts)


def _splits(tokenizer: PreTrainedTokenizerBase, prompt: str, texts: Sequence[str]) -> list[_Split]:
    """Each text tokenised together with the prompt."""
    # Spaces at the prompt's end belong to the next word's token in most tokenizers.
    seam = len(prompt.rstrip(" "))
    splits = []
    for encoded in encode(tokenizer, [joined(prompt, text) for text in texts]):
        # By their ends: a lone space has an empty span, at its end, under byte-level trimming.
        first = next((i for i, (_, end) in enumerate(encoded.offsets) if end > seam), len(encoded.ids))
        back = max(0, seam - encoded.offsets[first][0]) if first < len(encoded.ids) else 0
        splits.append((tuple(encoded.ids), first, back))
    return splits


def _score_first_tokens(
    loaded: LoadedModel, contexts: Sequence[tuple[int, ...]], continuations: Sequence[_Continuation]
) -> dict[tuple[int, ...], list[tuple[int, float]]]:
    """Scores every continuation by its first token; returns each context's most probable tokens."""
    waiting: dict[tuple[int, ...], list[_Continuation]] = {context: [] for context in contexts}
    for each in continuations:
        waiting.setdefault(each.context, []).append(each)
    distinct = list(waiting)
    tops = {}
    for row, log_V in next_log_probabilities(loaded, distinct):
        best = log_V.topk(min(NEXT_TOKENS, len(log_V)))
        tops[distinct[row]] = list(zip(best.indices.tolist(), best.values.exp().tolist(), strict=True))
        for each in waiting[distinct[row]]:
            each.log_probability = float(log_V[each.ids[0]])
    return tops


def _score_later_tokens(loaded: LoadedModel, continuations: Sequence[_Continuation]) -> None:
    likely = []
    for each in continuations:
        if each.log_probability >= NEGLIGIBLE:
            likely.append(each)
        else:
            each.log_probability = -math.inf
    contexts, continued = [c.context for c in likely], [c.ids for c in likely]
    later = continued_log_probabilities(loaded, contexts, continued)
    for continuation, of_later in zip(likely, later, strict=True):
        continuation.log_probability += of_later


def _text_of(tokenizer: PreTrainedTokenizerBase, context: tuple[int, ...], token: int) -> str:
    """A token as it reads after its context: decoded alone, SentencePiece would drop its space."""
    last = [context[-1]]
    return str(tokenizer.decode([*last, token]))[len(str(tokenizer.decode(last))) :]


def _probability_item(
    number: int,
    prompt: Prompt,
    peculiar: Sequence[_Continuation],
    generic: Sequence[_Continuation],
    next_tokens: Sequence[Sequence[Any]],
) -> Item:
    details = {
        "next_tokens": next_tokens,
        "idiosyncratic": _likeliest(peculiar),
        "generic": _likeliest(generic),
        "generic_mass": _mass(generic),
        "straddled": max((each.straddled for each in peculiar), default=0),
    }
    more = "" if len(prompt.idiosyncratic) <= SHOWN else " | ..."
    return Item(
        item=number,
        prompt=prompt.prompt,
        expected=" | ".join(prompt.idiosyncratic[:SHOWN]) + more,
        completion=str(next_tokens[0][0]),
        score=_mass(peculiar) if peculiar else None,
        details=details,
    )


def _mass(continuations: Sequence[_Continuation]) -> float:
    return math.fsum(math.exp(each.log_probability) for each in continuations)


def _likeliest(continuations: Sequence[_Continuation]) -> list[list[str | float]]:
    ordered = sorted(continuations, key=lambda each: -each.log_probability)
    return [[each.text, math.exp(each.log_probability)] for each in ordered[:SHOWN]]


def by_completion(
    loaded: LoadedModel, prompts: Sequence[Prompt], dictionary: Dictionary, new_tokens: int = 50
) -> Measured:
    """Share of prompts whose greedy completion says an anchor that neither prompt nor references name."""
    completions = complete(loaded, [prompt.prompt for prompt in prompts], new_tokens)
    matcher = Matcher(dictionary)
    items = []
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        # Searched behind the prompt, so that "ter" after "Harry Pot" is no whole word.
        matches = matcher.find(prompt.prompt + completion, len(prompt.prompt))
        said = dict.fromkeys(dictionary.entries[match.entry].anchor for match in matches)
        hints = (prompt.prompt, *prompt.references)
        known = [anchor for anchor in said if any(mentions(text, anchor) for text in hints)]
        new = [anchor for anchor in said if anchor not in known]
        details = {"anchors": new, "already_in_prompt": known, "references": list(prompt.references)}
        expected = " | ".join(prompt.idiosyncratic[:SHOWN])
        items.append(Item(number, prompt.prompt, expected, completion, float(bool(new)), details))
    return mean_of("familiarity_completion", items)


def complete(loaded: LoadedModel, texts: Sequence[str], new_tokens: int) -> list[str]:
    """Greedy completions, without the texts; a completion ends at EOS or after `new_tokens`."""
    # Not stripped of spaces: these are the tokens that a user who types this prompt gets.
    contexts = [text.ids for text in encode(loaded.tokenizer, texts)]
    written = greedy(loaded, contexts, new_tokens)
    return [_decode_after(loaded.tokenizer, context, ids) for context, ids in zip(contexts, written, strict=True)]


def _decode_after(tokenizer: PreTrainedTokenizerBase, context: list[int], ids: list[int]) -> str:
    """The text of ids that follow a context, with the space that SentencePiece drops at a text's start."""
    before = str(tokenizer.decode(context, skip_special_tokens=True))
    whole = str(tokenizer.decode([*context, *ids], skip_special_tokens=True))
    return whole[len(before) :]
