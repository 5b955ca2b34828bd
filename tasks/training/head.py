"""A model in training makes its loss where it would make its logits: in its head, a chunk of positions at a time.

The logits of a whole micro-batch would be the largest thing in memory: 16 blocks of 512 positions at V = 262,144 take
8 GiB, several times.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tasks.method.loss import LossInChunks
from tasks.method.projection import PROBE_TOKENS, finished

CHUNK_ELEMENTS = 1 << 26  # of a chunk's logits: 256 MiB in float32


@contextmanager
def loss_in_head(
    model: Any, trained_RT: Tensor, targets: Sequence[Tensor], loss_of: Callable[..., Tensor]
) -> Iterator[list[Tensor]]:
    """While it lasts a pass of the model puts `loss_of(logits, *targets)` of the positions that train into a list.

    The model's own "logits" are that loss, in some shape: whoever divides the model among ranks finds out from a pass's
    outputs which parameters it used, so they must hang on it.
    """
    head, losses = model.get_output_embeddings(), list[Tensor]()

    def forward(hidden_RTH: Tensor) -> Tensor:
        def loss_of_chunk(hidden_NH: Tensor, *chunk: Tensor) -> Tensor:
            return loss_of(finished(project(hidden_NH).float(), model.config), *chunk)

        size = max(1, CHUNK_ELEMENTS // len(head.weight))
        chosen = [target[trained_RT] for target in targets]
        learning = (parameter for parameter in head.parameters() if parameter.requires_grad)
        loss: Tensor = LossInChunks.apply(  # type: ignore[no-untyped-call]
            loss_of_chunk, size, chosen, hidden_RTH[trained_RT], *learning
        )
        losses.append(loss)
        return loss.reshape(1, 1, 1)

    with replaced(head, forward) as project:
        yield losses


@torch.no_grad()
def separable(model: Any) -> bool:
    """Whether the model's logits are what its head gives, finished: only then can the head make the loss."""
    head, training, given = model.get_output_embeddings(), model.training, list[Tensor]()

    def forward(hidden_RTH: Tensor) -> Tensor:
        given.append(project(hidden_RTH))
        return given[0]

    model.eval()
    with replaced(head, forward) as project:
        logits = model(input_ids=torch.arange(PROBE_TOKENS, device=model.device)[None]).logits
    model.train(training)
    return bool(given) and torch.equal(finished(given[0], model.config), logits)


@contextmanager
def replaced(module: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[Callable[[Tensor], Tensor]]:
    """A module with another forward, for a while; yields its own."""
    own = module.forward
    module.forward = forward
    try:
        yield own
    finally:
        module.forward = own
