"""Many continuations of one context in one pass: a tree of tokens, in which each sees its own ancestors alone.

A thousand names after one prompt share the prompt and most of their beginnings, so a pass a name repeats nearly
everything. The mask and the positions make the tree; a model that takes none of its own (a recurrent one, one with
its own positions) is found out on a probe and reads one sequence a continuation.
"""

import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.measure.loaded import LoadedModel
from tasks.measure.scoring import batches, token_log_probabilities
from tasks.method.projection import OwnLogits, Projector, logits_of, padded

NODES = 256
"""Tokens of one tree behind its context: attention is over all of them, so more would cost more than a second pass."""
PROBE = ((3, 4, 5, 6), ((7, 8, 9), (7, 10, 11), (12, 13, 14)))

Ids = tuple[int, ...]


class Tree:
    """A context and the proper beginnings of its continuations, each once, behind its parent."""

    def __init__(self, context: Ids) -> None:
        self.ids = list(context)
        self.parents = list(range(-1, len(context) - 1))
        self.questions: list[tuple[int, int, int]] = []
        """(place, token that follows it, number of the continuation)."""
        self._places: dict[Ids, int] = {(): len(context) - 1}

    def add(self, number: int, continuation: Ids) -> None:
        """Ask for every token of the continuation behind its first."""
        for end in range(1, len(continuation)):
            beginning = continuation[:end]
            if beginning not in self._places:
                self.parents.append(self._places[beginning[:-1]])
                self._places[beginning] = len(self.ids)
                self.ids.append(beginning[-1])
            self.questions.append((self._places[beginning], continuation[end], number))

    def full(self) -> bool:
        """Whether the next continuation belongs into another tree."""
        return len(self._places) > NODES

    def mask(self, size: int) -> tuple[Tensor, Tensor]:
        """Who sees whom [size, size], and positions [size]; padding sees itself."""
        visible = torch.eye(size, dtype=torch.bool)
        positions = torch.zeros(size, dtype=torch.long)
        for place, parent in enumerate(self.parents):
            if parent >= 0:
                visible[place] |= visible[parent]
                positions[place] = positions[parent] + 1
        return visible, positions


def continued_log_probabilities(
    loaded: LoadedModel, contexts: Sequence[Ids], continuations: Sequence[Ids]
) -> list[float]:
    """Log-probability of each continuation behind its first token, given its context and that token (fp32 rows)."""
    if not continuations:
        return []
    source = logits_of(loaded.model)
    if isinstance(source, OwnLogits) or not _takes_trees(loaded.model, source, contexts, continuations):
        sequences = [context + ids for context, ids in zip(contexts, continuations, strict=True)]
        rows = token_log_probabilities(loaded, sequences)
        firsts = map(len, contexts)
        return [float(log_T[first:].double().sum()) for first, log_T in zip(firsts, rows, strict=True)]
    trees = _trees(contexts, continuations)
    sums = [0.0] * len(continuations)
    for rows_of_batch in batches([tree.ids for tree in trees], len(trees)):
        batch = [trees[row] for row in rows_of_batch]
        for (_, _, number), value in zip(_questions(batch), _answers(source, batch), strict=True):
            sums[number] += value
    return sums


def _trees(contexts: Sequence[Ids], continuations: Sequence[Ids]) -> list[Tree]:
    """Neighbours in order share their beginnings."""
    trees: list[Tree] = []
    order = sorted(range(len(continuations)), key=lambda number: (contexts[number], continuations[number]))
    last: Ids | None = None
    for number in order:
        if contexts[number] != last or trees[-1].full():
            last = contexts[number]
            trees.append(Tree(last))
        trees[-1].add(number, continuations[number])
    return trees


def _questions(batch: Sequence[Tree]) -> list[tuple[int, int, int]]:
    """Of all trees, by place in the padded batch."""
    size = max(len(tree.ids) for tree in batch)
    flat = [(row * size + p, token, number) for row, tree in enumerate(batch) for p, token, number in tree.questions]
    return sorted(flat)


def _answers(source: Projector, batch: Sequence[Tree]) -> list[float]:
    """The log-probability that each question asks for."""
    hidden_BTH = _hidden(source, batch)
    places, tokens = (
        torch.tensor(column, device=source.device) for column in list(zip(*_questions(batch), strict=True))[:2]
    )
    distinct, row_Q = torch.unique_consecutive(places, return_inverse=True)
    values = []
    for start, chunk_RH in enumerate(torch.split(hidden_BTH.flatten(0, 1)[distinct], source.chunk_rows)):
        logits_RV = source.rows(chunk_RH)
        first = start * source.chunk_rows
        asked = (row_Q >= first) & (row_Q < first + len(logits_RV))
        row = row_Q[asked] - first
        values.append((logits_RV[row, tokens[asked]] - logits_RV.logsumexp(dim=-1)[row]).double().cpu())
    return torch.cat(values).tolist()


def _hidden(source: Projector, batch: Sequence[Tree]) -> Tensor:
    """Hidden states [B, T, H] of the padded trees."""
    ids_BT = padded([tree.ids for tree in batch])
    masks, positions = zip(*(tree.mask(ids_BT.shape[1]) for tree in batch), strict=True)
    return source.hidden(ids_BT, torch.stack(masks)[:, None], torch.stack(positions))


_TREES: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()
"""Whether a model in memory reads a tree as it reads each of its branches."""


def _takes_trees(
    model: PreTrainedModel, source: Projector, contexts: Sequence[Ids], continuations: Sequence[Ids]
) -> bool:
    """Within the window of attention, where it has one: a mask of ours would widen it."""
    if model not in _TREES:
        _TREES[model] = _reads_probe(source)
    window = getattr(model.config.get_text_config(), "sliding_window", None) or math.inf
    longest = max(len(context) + len(ids) for context, ids in zip(contexts, continuations, strict=True))
    return _TREES[model] and longest <= window


def _reads_probe(source: Projector) -> bool:
    context, continuations = PROBE
    (tree,) = _trees([context] * len(continuations), continuations)
    try:
        hidden_TH = _hidden(source, [tree])[0]
    except Exception:  # whatever its architecture makes of a mask that it does not know
        return False
    tolerance = 1e-3 if hidden_TH.dtype == torch.float32 else 5e-2
    for number, ids in enumerate(continuations):
        branch_TH = source.hidden(torch.tensor([context + ids[:-1]]))[0]
        places = [place for place, _, asked in tree.questions if asked == number]
        difference = (hidden_TH[places] - branch_TH[len(context) :]).abs().max()
        if not difference <= tolerance * branch_TH.abs().max():
            return False
    return True
