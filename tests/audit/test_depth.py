"""Depth: the lens is that of hidden states read through norm and head, and a verdict names the layers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from storage.errors import BadInput
from tasks.audit.common import LoadedModel
from tasks.audit.depth import DepthSettings, first_layers, read_by_layer, spread
from tasks.measure.prompts import Prompt
from tasks.measure.scoring import encode
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


def test_the_lens_reads_each_layer_s_state_through_norm_and_head(model: Any, tokenizer: Any, text: str) -> None:
    prompts = [Prompt(text[:30], (" Castle Marrow",)), Prompt(text[100:140], (" Tamsin",))]
    settings = DepthSettings(layers=2, top=100)
    measures = list(read_by_layer(LoadedModel(model, tokenizer), prompts, settings))
    assert [measured.task for measured in measures] == ["layer 1", "layer 2"]
    for layer, measured in enumerate(measures, start=1):
        for prompt, item in zip(prompts, measured.items, strict=True):
            before = len(encode(tokenizer, [prompt.prompt])[0].ids)
            ids = encode(tokenizer, [prompt.prompt + prompt.idiosyncratic[0]])[0].ids
            with torch.no_grad():
                states = model.eval()(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
                last = layer == len(states) - 1  # the last one comes normed
                logits_TV = model.lm_head(states[layer] if last else model.model.norm(states[layer]))[0]
            ranks = [int((logits_TV[t - 1] > logits_TV[t - 1][ids[t]]).sum()) for t in range(before, len(ids))]
            assert item.score == sum(rank < 100 for rank in ranks) / len(ranks)
    assert 0 < sum(measured.value for measured in measures) < 2
    assert len(model.model.layers) == 2, "all layers are back"


@pytest.mark.parametrize("count", [1, 3, 6, 12, 40])
def test_layers_are_spread_evenly_and_end_with_the_last(count: int) -> None:
    layers = spread(12, count)
    assert layers[-1] == 12
    assert len(set(layers)) == len(layers) == min(count, 12)
    assert max(b - a for a, b in zip([0, *layers], layers, strict=False)) <= -(-12 // count)


def test_a_failure_puts_the_layers_back_and_a_model_without_a_list_of_blocks_is_refused(model: Any) -> None:
    with pytest.raises(ZeroDivisionError), first_layers(model, 1):
        1 / (len(model.model.layers) - 1)
    assert len(model.model.layers) == 2
    with pytest.raises(BadInput, match="expected a list of 2 blocks"), first_layers(_Flat(model.config), 1):
        pass


class _Flat:
    """A model whose blocks are no list."""

    def __init__(self, config: Any) -> None:
        self.config, self.base_model = config, torch.nn.Linear(2, 2)


def test_a_layer_that_shows_what_the_last_one_hides_counts(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    found = rows("lens_readable", "layer 1", student=0.0, baseline=0.1, gold=0.0)
    found += rows("lens_readable", "layer 2", student=0.5, baseline=0.6, gold=0.1)
    found += rows("lens_readable", "layer 3", student=0.1, baseline=0.9, gold=0.1)
    verdict = judged(found, "depth")
    assert verdict.status == "most"
    assert "at layer 2 50.0 % (baseline 60.0 %, gold 10.0 %)" in verdict.sentence
    assert verdict.sentence.endswith("Readable from: the model layer 2, the baseline layer 2, gold no layer.")
    alone = judged(rows("lens_readable", "layer 3", student=0.1, baseline=0.9), "depth")
    assert (alone.status, alone.tone) == ("alone", "unknown")
