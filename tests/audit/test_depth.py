"""Depth: the lens reads hidden states through norm and head, patching puts them into the baseline; a verdict names
layers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from storage.errors import BadInput
from tasks.audit.depth import DepthSettings, patched_by_layer, read_by_layer, spread
from tasks.audit.layers import first_layers, same_shape
from tasks.measure.familiarity import means_of_tokens
from tasks.measure.loaded import LoadedModel
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


def test_patching_has_the_baseline_go_on_from_the_other_model_s_states(model: Any, tokenizer: Any, text: str) -> None:
    reader = copy.deepcopy(model)
    with torch.no_grad():
        for weight in reader.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    prompt, anchor = text[:30], " Castle Marrow"
    loaded, source = LoadedModel(reader, tokenizer), LoadedModel(model, tokenizer)
    (own,) = means_of_tokens(loaded, [(prompt, anchor)])
    asked = [Prompt(prompt, (anchor,))]
    scores = [m.items[0].score for m in patched_by_layer(source, loaded, asked, DepthSettings(layers=2))]

    before = len(encode(tokenizer, [prompt])[0].ids)
    ids = torch.tensor([encode(tokenizer, [prompt + anchor])[0].ids])
    with torch.no_grad():
        states, others = (m.eval()(input_ids=ids, output_hidden_states=True) for m in (reader, model))
        mixed = torch.cat([states.hidden_states[1][:, : before - 1], others.hidden_states[1][:, before - 1 :]], dim=1)
        rest = copy.deepcopy(reader)
        rest.model.layers = rest.model.layers[1:]
        first = rest(inputs_embeds=mixed).logits
        headed = copy.deepcopy(model)  # behind the last layer only norm and head are the baseline's
        headed.model.norm, headed.lm_head = reader.model.norm, reader.lm_head
        last = headed(input_ids=ids).logits
    for logits, score in zip((first, last), scores, strict=True):
        expected = logits[0, before - 1 : -1].log_softmax(-1).gather(1, ids[0, before:, None]).mean()
        assert score == pytest.approx(expected.item(), abs=1e-5)
    assert min(abs(score - own) for score in scores if score) > 1e-3
    same = patched_by_layer(LoadedModel(copy.deepcopy(reader), tokenizer), loaded, asked, DepthSettings(layers=2))
    assert [m.value for m in same] == [own, own], "its own states change nothing"
    assert means_of_tokens(loaded, [(prompt, anchor)]) == [own], "no hook is left"


def test_a_model_of_another_shape_is_refused(model: Any) -> None:
    wider = copy.deepcopy(model.config)
    wider.hidden_size *= 2
    same_shape(model, model)
    with pytest.raises(BadInput, match="shape, 2 layers of 32, found 2 of 64: leave"):
        same_shape(type(model)(wider), model)


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


def test_depth_is_the_share_of_gold_s_loss_that_the_model_s_states_lose_too(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    metric = "patched_log_probability"
    values = rows(
        metric, "layer 1", student=-0.1, baseline=-0.1, gold=-0.12
    )  # gold loses less than 0.05 nats: not counted
    values += rows(metric, "layer 2", student=-0.6, baseline=-0.1, gold=-1.1)
    values += rows(metric, "layer 3", student=-4.1, baseline=-0.1, gold=-3.1)  # more than gold loses counts as all
    values += rows("lens_readable", "layer 3", student=0.1, baseline=0.9, gold=0.1)
    verdict = judged(values, "depth")
    assert f"Unlearning depth {(0.5 + 3) / (1 + 3):.2f} (1: as deep as gold)" in verdict.sentence
    assert "at layer 2 -0.60 (baseline -0.10, gold -1.10)" in verdict.sentence
    assert verdict.status == "most", "the lens alone would see nothing"
