"""Rounding: no weight moves too far, and every weight comes back."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.audit.quantisation import measured_as, quantised, rounded
from tasks.measure.familiarity import by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.suite import Suite
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
PROMPTS = [
    Prompt("The owl flew over", (" Castle Marrow",)),
    Prompt('"Where is', (" Tamsin", " Ottoline"), (" she",)),
]


@given(st.integers(0, 1000), st.sampled_from([2, 3, 4, 8]), st.sampled_from([1, 3, 8, 64]))
def test_no_weight_moves_by_more_than_half_a_step_of_its_group(seed: int, bits: int, group: int) -> None:
    weight = torch.randn(5, 19, generator=torch.Generator().manual_seed(seed))
    near = rounded(weight, bits, group)
    top = 2 ** (bits - 1) - 1
    for row, near_row in zip(weight.tolist(), near.tolist(), strict=True):
        for start in range(0, 19, group):
            part, near_part = row[start : start + group], near_row[start : start + group]
            step = max(map(abs, part)) / top
            assert all(abs(one - other) <= step / 2 * 1.0001 for one, other in zip(part, near_part, strict=True))
            assert all(abs(other / step - round(other / step)) < 1e-3 for other in near_part)


def test_weights_of_zero_stay_zero() -> None:
    assert torch.equal(rounded(torch.zeros(2, 6), 4, 4), torch.zeros(2, 6))


def test_linear_layers_are_rounded_and_come_back(model: Any) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with quantised(model, 4, 16):
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {name for name in before if "proj" in name}
        assert torch.equal(
            model.state_dict()["model.layers.0.mlp.up_proj.weight"],
            rounded(before["model.layers.0.mlp.up_proj.weight"], 4, 16),
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layers_that_lie_the_other_way_are_grouped_by_inputs_too() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2))
    layer = model.transformer.h[0].mlp.c_fc
    before = layer.weight.data.clone()
    with quantised(model, 3, 4):
        assert torch.equal(layer.weight.data, rounded(before.T, 3, 4).T)
        assert not torch.equal(layer.weight.data, before)


def test_both_measures_are_taken_with_the_weights_as_they_are_and_rounded(
    reciter: Any, tokenizer: Any, text: str
) -> None:
    loaded = LoadedModel(reciter, tokenizer)
    full = measured_as(Suite(), PROMPTS, [text], loaded, "full")
    assert [(one.metric, one.task) for one in full] == [
        ("quantised_familiarity", "full"),
        ("quantised_perplexity", "full"),
    ]
    assert full[0].value == pytest.approx(by_probability(loaded, PROMPTS).value)
    assert measured_as(Suite(window=16, windows=3), PROMPTS, [text], loaded, "full")[1].count == 3
    values = {}
    for bits in (8, 2):
        with quantised(reciter, bits, 16):
            values[bits] = measured_as(Suite(), PROMPTS, [text], loaded, f"{bits} bits")[1]
    assert values[8].task == "8 bits"
    assert values[8].value == pytest.approx(full[1].value, rel=0.02)
    assert values[2].value > 1.5 * full[1].value
    assert len(measured_as(Suite(), PROMPTS, [], loaded, "full")) == 1


def test_quantisation_is_compared_with_the_model_as_it_is(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    found = rows("quantised_familiarity", "full", student=0.1, baseline=0.6)
    found += rows("quantised_familiarity", "8 bits", student=0.1, baseline=0.6)
    found += rows("quantised_perplexity", "8 bits", student=1.67, baseline=1.6)
    verdict = judged(found, "quantisation")
    assert verdict.status == "nothing"
    assert "Perplexity: 8 bits 1.67." in verdict.sentence
    found += rows("quantised_familiarity", "4 bits", student=0.5, baseline=0.6)
    assert judged(found, "quantisation").status == "most"
