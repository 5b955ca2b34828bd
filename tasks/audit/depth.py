"""Depth: at which layer the target's words become readable, though the last one may hide them.

The logit lens (nostalgebraist 2020): the state behind a layer, read through the final norm and the head as if no layer
followed. Here none does: the model runs with its first layers alone, so the lens is the model's own arithmetic, of any
architecture whose blocks are one list. It cannot see what stands in a state in another basis than the head's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.settings import Settings
from tasks.audit.common import Attack, Attacked, AuditedModel, LoadedModel, Metric
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, leak, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.prompts import Prompt, prompts_from_corpus
from tasks.measure.rows import Item, Measured, mean_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

METRIC = "lens_readable"


class DepthSettings(Settings):
    """The logit lens on passages of the target, each cut before an anchor."""

    prompts: int = Field(default=50, ge=1)
    """Passages; each costs a little more than half a pass a layer looked at."""
    layers: int = Field(default=6, ge=1)
    """Layers looked at, evenly spread, the last among them."""
    top: int = Field(default=10, ge=1)
    """A token is readable where it is among so many most probable ones."""
    seed: int = 0
    """Draws the passages."""


@stage("depth", version=1, heavy=True, protected=True)
def depth(
    context: Context, suspect: AuditedModel, corpus: Artifact, dictionary: Artifact, settings: DepthSettings
) -> Counts:
    """Share of the anchors' tokens that can be read behind each of some layers."""
    attacked = Attacked(context, suspect)
    documents, words = attacked.documents(corpus), attacked.dictionary(dictionary)
    prompts = prompts_from_corpus(documents, words, settings.prompts, seed=settings.seed)
    return attacked.write(read_by_layer(attacked, prompts, settings), settings.layers)


def read_by_layer(loaded: LoadedModel, prompts: Sequence[Prompt], settings: DepthSettings) -> Iterator[Measured]:
    """Behind each layer looked at, how many tokens of each prompt's anchor are readable, in tasks `layer 2`."""
    pairs = [(prompt.prompt, prompt.idiosyncratic[0]) for prompt in prompts]
    for layer in spread(len(_blocks(loaded.model)[2]), settings.layers):
        with first_layers(loaded.model, layer):
            shares = loaded.means_of_tokens(pairs, statistic=among(settings.top))
        items = [Item(n, *pair, "", share) for n, (pair, share) in enumerate(zip(pairs, shares, strict=True))]
        yield mean_of(METRIC, items, f"layer {layer}")


def spread(layers: int, count: int) -> list[int]:
    """At most `count` of the layers 1 ... `layers`, evenly spread, the last among them."""
    count = min(count, layers)
    return [round(layers * place / count) for place in range(1, count + 1)]


def among(top: int) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    """Whether each row's next token is among its `top` most probable ones: a statistic of [R, V] and [R]."""
    return lambda logits_RV, next_R: (logits_RV > logits_RV.gather(1, next_R[:, None])).sum(dim=-1) < top


@contextmanager
def first_layers(model: "PreTrainedModel", count: int) -> Iterator[None]:
    """The model without the blocks behind its first `count`; final norm and head stay. Puts them back at the end."""
    holder, name, blocks = _blocks(model)
    setattr(holder, name, blocks[:count])
    try:
        yield
    finally:
        setattr(holder, name, blocks)


def _blocks(model: "PreTrainedModel") -> tuple[Any, str, Any]:
    """(module, attribute, list of blocks). BadInput where the model's blocks are no list."""
    from torch import nn

    layers = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                return module, name, child
    raise BadInput(f"audit.depth: expected a list of {layers} blocks in a {type(model).__name__}, found none")


def judge(values: AuditValues) -> Ruling:
    """Judged at the layer where the model lies furthest above gold; there is no other reference."""
    tasks = values.tasks(METRIC)
    cases = [replace(against_gold(values, METRIC, task, f"at {task}", None, ""), name="gold") for task in tasks]
    worst = max(cases, key=lambda c: c.model.value - c.reference.value if c.model and c.reference else 0.0)
    status, sentence = leak("The target's tokens that a layer's state shows", [worst], percent)
    known = {"the model": "model", "the baseline": "baseline", "gold": "gold"}
    depths = [f"{name} {layer}" for name, who in known.items() if (layer := _readable_from(values, who))]
    return status, f"{sentence} Readable from: {', '.join(depths)}."


def _readable_from(values: AuditValues, who: str) -> str:
    """The first layer that shows half of what the baseline's last one shows; empty for a model not measured."""
    tasks = values.tasks(METRIC)
    whole = values.of("baseline", METRIC, tasks[-1]) or values.of("model", METRIC, tasks[-1])
    shown = [(task, value) for task in tasks if (value := values.of(who, METRIC, task))]
    if not shown or not whole:
        return ""
    return next((task for task, value in shown if value.value >= whole.value / 2 > 0), "no layer")


DEPTH = Attack(
    stage=depth,
    title="Depth",
    question="The state behind each layer is read as if it were the last. Is the text still in there?",
    metrics={
        METRIC: Metric(
            "share of the tokens of expressions before which a passage is cut that are among the most probable ones, "
            "read behind a layer",
            "the layer",
            conditions=lambda task: ("", task.removeprefix("layer ")),
            unit="layer",
        ),
    },
    calls=lambda target, texts, settings: (
        [(target.corpus, target.dictionary, settings.depth)] if settings.depth else []
    ),
    judge=judge,
    untested="Depth: whether layers before the last still show the text (audit.depth).",
    leak="reading its layers",
)
