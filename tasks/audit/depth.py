"""Depth: at which layer the target's words become readable, though the last one may hide them.

The logit lens (nostalgebraist 2020): the state behind a layer, read through the final norm and the head as if no layer
followed. Here none does: the model runs with its first layers alone, so the lens is the model's own arithmetic, of any
architecture whose blocks are one list. It cannot see what stands in a state in another basis than the head's.

Activation patching can (UDS, arXiv:2605.24614): the baseline, which knows the text, goes on from the model's states
behind a layer. What it loses by that, those states do not hold; gold's show how much there is to lose.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from pydantic import Field

from storage.artifact import Artifact
from storage.settings import Seed, Settings
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric
from tasks.audit.layers import blocks_of, first_layers, patched, same_shape
from tasks.audit.verdicts import GRAVEST, AuditValues, Case, Ruling, against_gold, leak, percent, plain
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt, prompts_from_corpus
from tasks.measure.rows import Item, Measured, mean_of

if TYPE_CHECKING:
    from torch import Tensor

LENS = "lens_readable"
PATCHED = "patched_log_probability"
LOSS = 0.05
"""Nats a token: less that is lost counts as nothing (arXiv:2605.24614)."""


class DepthSettings(Settings):
    """The logit lens and activation patching, on passages of the target, each cut before an anchor."""

    prompts: int = Field(default=50, ge=1)
    """Passages; each costs two and a half passes a layer looked at."""
    layers: int = Field(default=6, ge=1)
    """Layers looked at, evenly spread, the last among them."""
    top: int = Field(default=10, ge=1)
    """A token is readable where it is among so many most probable ones."""
    seed: Seed = 0
    """Draws the passages."""


@stage("depth", version=2, heavy=True, protected=True)
def depth(
    context: Context,
    suspect: AuditedModel,
    baseline: AuditedModel,
    corpus: Artifact,
    dictionary: Artifact,
    settings: DepthSettings,
) -> Counts:
    """Share of the anchors' tokens that can be read behind each of some layers, and what the baseline makes of them."""
    attacked, reader = Attacked(context, suspect), Attacked(context, baseline).loaded
    same_shape(attacked.loaded.model, reader.model)
    documents, words = attacked.documents(corpus), attacked.dictionary(dictionary)
    prompts = prompts_from_corpus(documents, words, settings.prompts, seed=settings.seed)
    lens = read_by_layer(attacked.loaded, prompts, settings)
    patching = patched_by_layer(attacked.loaded, reader, prompts, settings)
    return attacked.write(chain(lens, patching), 2 * len(spread(len(blocks_of(reader.model)[2]), settings.layers)))


def read_by_layer(loaded: LoadedModel, prompts: Sequence[Prompt], settings: DepthSettings) -> Iterator[Measured]:
    """Behind each layer looked at, how many tokens of each prompt's anchor are readable, in tasks `layer 2`."""
    from tasks.measure.familiarity import means_of_tokens

    pairs = [(prompt.prompt, prompt.idiosyncratic[0]) for prompt in prompts]
    for layer in spread(len(blocks_of(loaded.model)[2]), settings.layers):
        with first_layers(loaded.model, layer):
            shares = means_of_tokens(loaded, pairs, among(settings.top))
        items = [Item(n, *pair, "", share) for n, (pair, share) in enumerate(zip(pairs, shares, strict=True))]
        yield mean_of(LENS, items, f"layer {layer}")


def spread(layers: int, count: int) -> list[int]:
    """At most `count` of the layers 1 ... `layers`, evenly spread, the last among them."""
    count = min(count, layers)
    return [round(layers * place / count) for place in range(1, count + 1)]


def among(top: int) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    """Whether each row's next token is among its `top` most probable ones: a statistic of [R, V] and [R]."""
    return lambda logits_RV, next_R: (logits_RV > logits_RV.gather(1, next_R[:, None])).sum(dim=-1) < top


def patched_by_layer(
    source: LoadedModel, reader: LoadedModel, prompts: Sequence[Prompt], settings: DepthSettings
) -> Iterator[Measured]:
    """What the reader makes of the source's states behind each layer looked at: the log-probability a token that it
    gives to each prompt's anchor, in nats. The states are those that foretell the anchor's tokens."""
    from tasks.measure.familiarity import means_of_tokens
    from tasks.measure.scoring import encode, measuring

    pairs = [(prompt.prompt, prompt.idiosyncratic[0]) for prompt in prompts]
    lengths = [len(text.ids) for text in encode(reader.tokenizer, [prompt.rstrip(" ") for prompt, _ in pairs])]
    for layer in spread(len(blocks_of(reader.model)[2]), settings.layers):
        items = []
        for n, (pair, length) in enumerate(zip(pairs, lengths, strict=True)):
            with measuring(source.model), patched(reader.model, layer, source.model, length - 1):
                (score,) = means_of_tokens(reader, [pair])
            items.append(Item(n, *pair, "", score))
        yield mean_of(PATCHED, items, f"layer {layer}")


def judge(values: AuditValues) -> Ruling:
    """The graver of what the lens and the patching show; each at the layer where the model lies furthest above gold."""
    lens, sentence = leak("The target's tokens that a layer's state shows", _worst(values, LENS), percent)
    known = {"the model": "model", "the baseline": "baseline", "gold": "gold"}
    depths = [f"{name} {layer}" for name, who in known.items() if (layer := _readable_from(values, who))]
    sentences = [sentence, f"Readable from: {', '.join(depths)}."]
    if not values.tasks(PATCHED):
        return lens, " ".join(sentences)
    lead = "Nats a token that the baseline gives to its names, with a layer's states replaced by the model's"
    patching, sentence = leak(lead, _worst(values, PATCHED), plain, LOSS)
    sentences.append(sentence)
    if (depth := unlearning_depth(values)) is not None:
        sentences.append(f"Unlearning depth {depth:.2f} (1: as deep as gold).")
    return min(lens, patching, key=GRAVEST.index), " ".join(sentences)


def _worst(values: AuditValues, metric: str) -> list[Case]:
    """The layer where the model lies furthest above gold, where one was looked at."""
    tasks = values.tasks(metric)
    cases = [replace(against_gold(values, metric, task, f"at {task}", None, ""), name="gold") for task in tasks]
    cases.sort(key=lambda c: c.reference.value - c.model.value if c.model and c.reference else 0.0)
    return cases[:1]


def unlearning_depth(values: AuditValues) -> float | None:
    """How much of what gold's states lose the model's lose as well, 0 to 1, over the layers at which gold's lose
    something (UDS, arXiv:2605.24614); None where none does, or where there is no gold."""
    lost = {"model": 0.0, "gold": 0.0}
    for task in values.tasks(PATCHED):
        whole, gold, model = (values.of(who, PATCHED, task) for who in ("baseline", "gold", "model"))
        if whole and gold and model and whole.value - gold.value > LOSS:
            lost["gold"] += whole.value - gold.value
            lost["model"] += min(max(whole.value - model.value, 0.0), whole.value - gold.value)
    return lost["model"] / lost["gold"] if lost["gold"] else None


def _readable_from(values: AuditValues, who: str) -> str:
    """The first layer that shows half of what the baseline's last one shows; empty for a model not measured."""
    tasks = values.tasks(LENS)
    whole = (values.of("baseline", LENS, tasks[-1]) or values.of("model", LENS, tasks[-1])) if tasks else None
    shown = [(task, value) for task in tasks if (value := values.of(who, LENS, task))]
    if not shown or not whole:
        return ""
    return next((task for task, value in shown if value.value >= whole.value / 2 > 0), "no layer")


DEPTH = Attack(
    stage=depth,
    title="Depth",
    question="The state behind each layer is read as if it were the last, and the baseline goes on from it. "
    "Is the text still in there?",
    metrics={
        LENS: Metric(
            "share of the tokens of expressions before which a passage is cut that are among the most probable ones, "
            "read behind a layer",
            conditions=lambda task: ("", task.removeprefix("layer ")),
            unit="layer",
        ),
        PATCHED: Metric(
            "log-probability that the baseline gives to a token of these expressions, with the states behind a layer "
            "replaced by the model's",
            form="mean",
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
    beside="baseline",
)
