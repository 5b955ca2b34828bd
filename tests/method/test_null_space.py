"""A student that stays out of what other text uses says there what it said before."""

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tasks.method.null_space import NullSpace, input_moments, linear_layers, principal_directions, weight_of

TEXTS = [torch.arange(12)[None] % 7, torch.arange(9)[None] % 5]


def llama() -> Any:
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2))


@pytest.fixture(params=[llama, gpt2])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return request.param().train()


def test_the_moments_are_those_of_the_inputs(model: Any) -> None:
    layers = linear_layers(model)
    name, layer = next(item for item in layers.items() if weight_of(item[1]).shape[0] != weight_of(item[1]).shape[1])
    seen = []
    with layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].detach())):
        moments = input_moments(model, layers, TEXTS)
    inputs = torch.cat(seen)
    torch.testing.assert_close(moments[name], inputs.T @ inputs)
    assert moments[name].shape == (weight_of(layer).shape[1],) * 2
    assert model.training
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_the_largest_directions_are_taken() -> None:
    basis, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))
    moment = basis @ torch.diag(torch.tensor([5.0, 1.0, 7.0, 2.0])) @ basis.T
    directions = principal_directions(moment, 0.5)
    expected = basis[:, [0, 2]]
    torch.testing.assert_close(directions @ directions.T, expected @ expected.T)


def test_a_change_is_taken_back_along_the_directions_and_nowhere_else(model: Any) -> None:
    layers = linear_layers(model)
    moments = input_moments(model, layers, TEXTS)
    guard = NullSpace(model, TEXTS, 0.25)
    before = {name: weight_of(layer).clone() for name, layer in layers.items()}
    with torch.no_grad():
        for layer in layers.values():
            weight_of(layer).add_(torch.randn_like(weight_of(layer)))
    after = {name: weight_of(layer).clone() for name, layer in layers.items()}
    guard.project()
    assert len(guard) == len(layers)
    for name, layer in layers.items():
        directions = principal_directions(moments[name], 0.25)
        change, whole = weight_of(layer) - before[name], after[name] - before[name]
        torch.testing.assert_close(change @ directions, torch.zeros_like(change @ directions), atol=1e-5, rtol=0)
        torch.testing.assert_close(change, whole - whole @ directions @ directions.T, atol=1e-5, rtol=0)


def test_a_model_that_may_change_nowhere_the_text_goes_says_the_same_there(model: Any) -> None:
    """12 positions span at most 12 directions of a layer, fewer than are kept."""
    model.eval()
    ids = TEXTS[0]
    before = model(input_ids=ids).logits
    guard = NullSpace(model, [ids], 0.95)
    with torch.no_grad():
        for name, layer in linear_layers(model).items():
            if name != "lm_head":  # tied: its rows are inputs, too
                weight_of(layer).add_(0.05 * torch.randn_like(weight_of(layer)))
    changed = (model(input_ids=ids).logits - before).abs().mean()
    guard.project()
    kept = (model(input_ids=ids).logits - before).abs().mean()
    assert kept < 0.05 * changed
