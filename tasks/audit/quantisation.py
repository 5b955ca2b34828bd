"""Quantisation: does rounding the weights bring back what small updates took away?

Round-to-nearest, symmetric, with one scale for each group of neighbouring inputs; linear layers only, not the embedding
nor the output projection, as the usual libraries do. The arithmetic stays in floating point: the rounding is tested.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from storage.errors import BadInput
from storage.settings import Settings
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric, Target, familiarity
from tasks.audit.verdicts import AuditValues, Case, Ruling, leak, percent, plain
from tasks.engine.stage import Context, Counts, pick_device, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured
from tasks.measure.suite import Suite
from tasks.texts import Texts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FULL = "full"


class QuantisationSettings(Settings):
    """Rounding of the weights."""

    bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = Field(default=(8, 4), min_length=1)
    """Widths that are tried."""
    group: int = Field(default=64, ge=1)
    """Neighbouring weights that share a scale."""
    bitsandbytes: bool = False
    """Also load the model through bitsandbytes, with these widths; needs the package and a GPU."""


@stage("quantisation", version=2, heavy=True, protected=True)
def quantisation(
    context: Context, suspect: AuditedModel, target: Target, heldout: Texts | None, settings: QuantisationSettings
) -> Counts:
    """Familiarity and perplexity with weights as they are and rounded."""
    attacked = Attacked(context, suspect)
    texts = heldout.read() if heldout else []
    measured = partial(measured_as, target.suite, attacked.prompts(target), texts)

    def measures() -> Iterator[Measured]:
        yield from measured(attacked.loaded, FULL)
        for bits in settings.bits:
            with quantised(attacked.loaded.model, bits, settings.group):
                yield from measured(attacked.loaded, f"{bits} bits")
        for bits in settings.bits if settings.bitsandbytes else ():
            small = replace(attacked.loaded, model=_from_bitsandbytes(context, suspect, bits))
            yield from measured(small, f"{bits} bits bitsandbytes")

    return attacked.write(measures(), 2 * (1 + len(settings.bits) * (1 + settings.bitsandbytes)))


def measured_as(
    suite: Suite, prompts: Sequence[Prompt], texts: Sequence[str], loaded: LoadedModel, task: str
) -> list[Measured]:
    """Familiarity, and perplexity on the texts if any, of a model in whatever form its weights have."""
    from tasks.measure.perplexity import perplexity

    measures = [familiarity(loaded, prompts, "quantised_familiarity", task)]
    if texts:
        value = perplexity(loaded, texts, suite.window, suite.windows)
        measures.append(replace(value, metric="quantised_perplexity", task=task))
    return measures


@contextmanager
def quantised(model: "PreTrainedModel", bits: int, group: int) -> Iterator[None]:
    """Rounds the weights of the linear layers; puts the old ones back at the end."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not model.get_output_embeddings()
    ]
    if not layers:
        raise BadInput(f"Expected linear layers to round in a {type(model).__name__}, found none.")
    originals = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            across = layer.weight.data.T if isinstance(layer, Conv1D) else layer.weight.data  # outputs, inputs
            near = rounded(across, bits, group)
            layer.weight.data = near.T if isinstance(layer, Conv1D) else near
        yield
    finally:
        for layer, weight in zip(layers, originals, strict=True):
            layer.weight.data = weight


def rounded(weight: "torch.Tensor", bits: int, group: int) -> "torch.Tensor":
    """The weight (outputs, inputs) on the grid of its groups; no entry moves by more than half a step of its group."""
    import torch

    outputs, inputs = weight.shape
    padded = torch.nn.functional.pad(weight.float(), (0, -inputs % group)).view(outputs, -1, group)
    top = 2 ** (bits - 1) - 1
    step = padded.abs().amax(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / top
    near = (padded / step).round().clamp(-top, top) * step
    result: torch.Tensor = near.view(outputs, -1)[:, :inputs].to(weight.dtype)
    return result


def _from_bitsandbytes(context: Context, suspect: AuditedModel, bits: int) -> Any:
    from importlib.util import find_spec

    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if pick_device(context.placement.device) != "cuda" or not find_spec("bitsandbytes"):
        raise BadInput("audit.quantisation.bitsandbytes: expected a GPU and the package bitsandbytes, found not both")
    if bits not in (4, 8):
        raise BadInput(f"audit.quantisation.bits: expected 4 or 8 for bitsandbytes, found {bits}")
    form = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    return AutoModelForCausalLM.from_pretrained(
        suspect.model.path, quantization_config=form, device_map={"": 0}, use_safetensors=True
    )


def judge(values: AuditValues) -> Ruling:
    metric = "quantised_familiarity"
    full, baseline = (values.of(who, metric, FULL) for who in ("model", "baseline"))
    cases = [
        Case(task, values.of("model", metric, task), baseline, full, "the unrounded model")
        for task in values.tasks(metric)
        if task != FULL
    ]
    status, sentence = leak("Familiarity with rounded weights", cases, percent)
    spent = [
        f"{task} {plain(value.value)}"
        for task in values.tasks("quantised_perplexity")
        if (value := values.of("model", "quantised_perplexity", task))
    ]
    more = f" Perplexity: {', '.join(spent)}." if spent else ""
    return status, sentence + more


QUANTISATION = Attack(
    stage=quantisation,
    title="Rounding",
    question="Its numbers are rounded to few bits, as is done to run models cheaply.",
    metrics={
        "quantised_familiarity": Metric(
            "familiarity by probability with rounded weights", conditions=lambda form: ("", form)
        ),
        "quantised_perplexity": Metric(
            "perplexity on held-out text with rounded weights", "perplexity", conditions=lambda form: ("", form)
        ),
    },
    calls=lambda target, texts, settings: [(target, texts.heldout, settings.quantisation)],
    judge=judge,
    untested="Quantisation: whether rounding the model to 8 or 4 bits brings the knowledge back.",
    leak="quantisation",
)
