"""Relearning: how fast the knowledge comes back when the model is finetuned a little.

A plain loop on a copy, the same for every model and text: AdamW at a constant rate in float32, every weight trained.
Gold doing the same shows how much of the gain is new knowledge; unrelated text shows what finetuning alone undoes.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from storage.errors import BadInput
from tasks.measure.familiarity import by_probability
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured
from tasks.measure.scoring import encode

NO_LABEL = -100


@dataclass(frozen=True, slots=True)
class Finetune:
    """A short finetune: familiarity is measured after each number of `steps`, of `batch` blocks of `length` tokens."""

    steps: tuple[int, ...] = (0, 5, 10, 15, 20)
    learning_rate: float = 1e-4
    batch: int = 16
    length: int = 128
    seed: int = 0


def relearning(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    prompts: Sequence[Prompt],
    how: Finetune,
    *,
    source: str = "target",
    batch_size: int = 8,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> list[Measured]:
    """Familiarity by probability after 0, 5, ... steps of finetuning a copy of the model on the texts."""
    asked = [replace(prompt, generic=()) for prompt in prompts]
    found = []
    for step, learner in finetuned(model, tokenizer, texts, how):
        if step in how.steps:
            measured = by_probability(learner, tokenizer, asked, batch_size=batch_size)
            found.append(replace(measured, metric="relearned_familiarity", task=f"{source} {step}"))
        progress(step, max(how.steps))
    return found


def finetuned(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Finetune
) -> Iterator[tuple[int, PreTrainedModel]]:
    """(0, copy), then the same copy after each step. Deterministic by seed, whatever the caller's generators do."""
    blocks = [
        ids[start : start + how.length]
        for ids in (text.ids for text in encode(tokenizer, texts))
        for start in range(0, len(ids) - 1, how.length)
    ]
    if not blocks:
        raise BadInput("Relearning needs text of at least two tokens, found none.")
    learner = copy.deepcopy(model).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=how.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    yield 0, learner
    chance = torch.Generator().manual_seed(how.seed)
    waiting: list[int] = []
    for step in range(1, max(how.steps) + 1):
        while len(waiting) < how.batch:
            waiting += torch.randperm(len(blocks), generator=chance).tolist()
        rows, waiting = waiting[: how.batch], waiting[how.batch :]
        with torch.random.fork_rng():
            torch.manual_seed(how.seed + step)  # dropout, where the model has any
            _learn(learner, [blocks[row] for row in rows])
        optimizer.step()
        optimizer.zero_grad()
        yield step, learner


def _learn(learner: PreTrainedModel, blocks: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, blocks))
    ids_RT = torch.zeros(len(blocks), longest, dtype=torch.long)
    labels_RT = torch.full_like(ids_RT, NO_LABEL)
    for row, block in enumerate(blocks):
        ids_RT[row, : len(block)] = labels_RT[row, : len(block)] = torch.tensor(block)
    # Padding lies on the right, where causal attention never looks.
    device = learner.device
    learner(input_ids=ids_RT.to(device), labels=labels_RT.to(device), use_cache=False).loss.backward()
