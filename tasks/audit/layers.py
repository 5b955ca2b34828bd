"""A model's layers, taken apart while it runs: some left out, the states behind one replaced with another model's."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from storage.errors import BadInput


def blocks_of(model: Any) -> tuple[Any, str, Any]:
    """(module, attribute, list of blocks). BadInput where the model's blocks are no list."""
    from torch import nn

    layers = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                return module, name, child
    raise BadInput(f"audit.depth: expected a list of {layers} blocks in a {type(model).__name__}, found none")


@contextmanager
def first_layers(model: Any, count: int) -> Iterator[None]:
    """The model without the blocks behind its first `count`; final norm and head stay. Puts them back at the end."""
    holder, name, blocks = blocks_of(model)
    setattr(holder, name, blocks[:count])
    try:
        yield
    finally:
        setattr(holder, name, blocks)


@contextmanager
def patched(model: Any, layer: int, source: Any, first: int) -> Iterator[None]:
    """The model with the source's states behind its layer `layer` (from 1), at the positions from `first` on.

    The source reads whatever the model reads, first. Both have the same shape.
    """
    states: list[Any] = []

    def replace(_block: Any, _inputs: Any, output: Any) -> None:
        _state(output)[:, first:] = states.pop()[:, first:]

    with ExitStack() as undone:
        for hook in (
            model.base_model.register_forward_pre_hook(
                lambda _module, inputs, named: source.base_model(*inputs, **named) and None, with_kwargs=True
            ),
            blocks_of(source)[2][layer - 1].register_forward_hook(lambda *called: states.append(_state(called[2]))),
            blocks_of(model)[2][layer - 1].register_forward_hook(replace),
        ):
            undone.callback(hook.remove)
        yield


def _state(output: Any) -> Any:
    """[B, T, D], of what a block returns: in some architectures more beside it."""
    return output[0] if isinstance(output, tuple) else output


def same_shape(model: Any, other: Any) -> None:
    """BadInput where the states of one model cannot stand in the other."""
    shapes = [(c.num_hidden_layers, c.hidden_size) for c in (m.config.get_text_config() for m in (model, other))]
    if shapes[0] != shapes[1]:
        (layers, width), (other_layers, other_width) = shapes
        raise BadInput(
            f"audit.depth: expected a model of the baseline's shape, {other_layers} layers of {other_width}, "
            f"found {layers} of {width}: leave [audit.depth] out"
        )
