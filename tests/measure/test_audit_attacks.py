"""The attacks on small models, one of which knows a text by heart, against slow references."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dictionaries.dictionary import Dictionary
from storage.errors import BadInput
from tasks.audit import instruction, translations
from tasks.audit.extraction import extraction_strength
from tasks.audit.membership import auc, inferred, lowest_mean
from tasks.audit.passages import draw_passages
from tasks.audit.quantisation import quantised, rounded, rounded_to
from tasks.audit.relearning import RelearningSettings, finetuned, relearned
from tasks.audit.side_effects import near_perplexity
from tasks.audit.verbatim import continued
from tasks.measure.familiarity import by_probability
from tasks.measure.perplexity import perplexity
from tasks.measure.prompts import Prompt
from tasks.measure.scoring import encode

PROMPTS = [
    Prompt("The owl flew over", (" Castle Marrow",)),
    Prompt('"Where is', (" Tamsin", " Ottoline"), (" she",)),
]
LEARN = RelearningSettings(steps=(0, 40, 80), learning_rate=1e-2, batch=4, length=64)


@pytest.fixture(scope="module")
def reciter(model: Any, tokenizer: Any, text: str) -> Any:
    """A model that knows the text by heart, from wherever one begins."""
    starts = [0, *(place + 1 for place, char in enumerate(text[:-60]) if char.isspace())]
    suffixes = [text[start:] for start in starts[::2]]
    how = RelearningSettings(steps=(120,), learning_rate=1e-2, batch=8, length=64)
    *_, (_, learner) = finetuned(model, tokenizer, suffixes, how)
    return learner.eval()


# ------------------------------------------------------------------------------------------------ continued, extraction


def test_a_model_that_knows_the_text_goes_on_with_it(model: Any, reciter: Any, tokenizer: Any, text: str) -> None:
    passages = draw_passages(tokenizer, [text], 4, tokens=32, given=16)
    values = {}
    for name, one in (("random", model), ("reciter", reciter)):
        overlap, run = continued(one, tokenizer, passages, new_tokens=16)
        values[name] = overlap.value, run.value
        assert [item.details["document"] for item in run.items] == [0] * len(passages)
    assert values["random"][0] < 0.2 < 0.8 < values["reciter"][0]
    assert values["random"][1] < 1 < 4 < values["reciter"][1]


def slow_strength(model: Any, ids: Sequence[int]) -> float:
    """Generate token by token from every beginning, the BOS alone included."""
    for given_ids in range(1, len(ids)):
        said = list(ids[:given_ids])
        while len(said) < len(ids):
            with torch.no_grad():
                said.append(int(model(input_ids=torch.tensor([said])).logits[0, -1].argmax()))
        if said == list(ids):
            return 1 - (given_ids - 1) / (len(ids) - 1)
    return 0.0


@pytest.mark.slow
def test_extraction_strength_is_that_of_generating_from_every_beginning(
    model: Any, reciter: Any, tokenizer: Any, text: str
) -> None:
    sentences = [text[:80], text[30:120], "A girl went out to see something else.", text[100:180]]
    for one in (model, reciter):
        measured = extraction_strength(one, tokenizer, sentences, batch_size=3)
        expected = [slow_strength(one.eval(), encode(tokenizer, [sentence])[0].ids) for sentence in sentences]
        assert [item.score for item in measured.items] == pytest.approx(expected)
        assert [item.prompt + item.expected for item in measured.items] == sentences
    assert measured.value > 0.3


# ---------------------------------------------------------------------------------------------------------- inferred

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auc_counts_the_pairs_in_which_the_member_is_higher(members: list[float], others: list[float]) -> None:
    pairs = [(one > other) + 0.5 * (one == other) for one in members for other in others]
    assert auc(members, others)[0] == pytest.approx(sum(pairs) / len(pairs))


def test_the_auc_s_standard_error_is_the_spread_over_fresh_draws() -> None:
    random = np.random.default_rng(0)
    draws = [auc(random.normal(1, 1, 40).tolist(), random.normal(0, 1, 60).tolist()) for _ in range(400)]
    values, errors = (np.array(column) for column in zip(*draws, strict=True))
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=30), st.sampled_from([0.01, 0.2, 0.5, 1.0]))
def test_the_lowest_share_is_that_of_the_sorted_values(values: list[float], share: float) -> None:
    lowest = sorted(values)[: max(1, int(len(values) * share))]
    assert lowest_mean(np.array(values), share) == pytest.approx(sum(lowest) / len(lowest))


def test_scores_are_those_worked_out_token_by_token(model: Any, tokenizer: Any, text: str) -> None:
    import zlib

    texts = [text[:90], text[40:200]]
    found = {measured.task: measured for measured in inferred(model, tokenizer, texts[:1], texts[1:], share=0.3)}
    for number, one in enumerate(texts):
        ids = encode(tokenizer, [one])[0].ids
        with torch.no_grad():
            log_TV = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1).tolist()
        log = [log_TV[t][ids[t + 1]] for t in range(len(ids) - 1)]
        standard = []
        for t, row in enumerate(log_TV[:-1]):
            mean = sum(math.exp(value) * value for value in row)
            variance = sum(math.exp(value) * (value - mean) ** 2 for value in row)
            standard.append((log[t] - mean) / math.sqrt(variance))
        count = max(1, int(len(log) * 0.3))
        expected = {
            "loss": sum(log) / len(log),
            "zlib": sum(log) / len(zlib.compress(one.encode())),
            "min-k": sum(sorted(log)[:count]) / count,
            "min-k++": sum(sorted(standard)[:count]) / count,
        }
        assert {task: measured.items[number].score for task, measured in found.items()} == pytest.approx(
            expected, abs=1e-3
        )
        assert found["loss"].items[number].details == {"member": number == 0}


def test_a_model_that_knows_the_text_tells_it_from_other_text(
    reciter: Any, model: Any, tokenizer: Any, text: str
) -> None:
    members = [passage.text for passage in draw_passages(tokenizer, [text], 9, tokens=20, given=10)]
    others = [" ".join(reversed(member.split())) for member in members]
    knows = {measured.task: measured.value for measured in inferred(reciter, tokenizer, members, others)}
    assert min(knows.values()) > 0.9, knows
    assert inferred(model, tokenizer, members, others)[0].value < 0.9


# ---------------------------------------------------------------------------------------------------------- relearned


def test_relearning_brings_familiarity_up_on_the_text_and_leaves_the_model_alone(
    model: Any, tokenizer: Any, text: str
) -> None:
    before = copy.deepcopy(model.state_dict())
    drawn = torch.random.get_rng_state()
    seen: list[tuple[float, float]] = []
    found = relearned(model, tokenizer, [text], PROMPTS, LEARN, progress=lambda *at: seen.append(at))
    assert [measured.task for measured in found] == ["target 0", "target 40", "target 80"]
    assert found[0].value == pytest.approx(by_probability(model, tokenizer, PROMPTS).value)
    assert found[0].value < 0.05 < 0.5 < found[1].value
    other = relearned(model, tokenizer, ["Nothing of it. " * 30], PROMPTS, LEARN, source="unrelated")
    assert other[-1].value < 0.05
    assert other[-1].task == "unrelated 80"
    assert seen[-1] == (80, 80)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_relearning_is_the_same_every_time_and_another_with_another_seed(model: Any, tokenizer: Any, text: str) -> None:
    values = []
    for seed in (0, 0, 1):
        how = RelearningSettings(steps=(3,), learning_rate=1e-2, batch=2, length=16, seed=seed)
        torch.manual_seed(len(values))
        values.append(relearned(model, tokenizer, [text], PROMPTS, how)[0].value)
    assert values[0] == values[1] != values[2]


def test_relearning_trains_weights_that_were_frozen(model: Any, tokenizer: Any, text: str) -> None:
    frozen = copy.deepcopy(model).requires_grad_(False)
    how = RelearningSettings(steps=(1,), learning_rate=1e-2, batch=2, length=16)
    *_, (_, learner) = finetuned(frozen, tokenizer, [text], how)
    assert not torch.equal(learner.lm_head.weight, frozen.lm_head.weight)


def test_relearning_without_text_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="at least two tokens"):
        list(finetuned(model, tokenizer, [], LEARN))


# -------------------------------------------------------------------------------------------------------- rounded_to


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
    full = rounded_to(reciter, tokenizer, PROMPTS, [text], bits=None)
    assert [(one.metric, one.task) for one in full] == [
        ("quantised_familiarity", "full"),
        ("quantised_perplexity", "full"),
    ]
    assert full[0].value == pytest.approx(by_probability(reciter, tokenizer, PROMPTS).value)
    values = {bits: rounded_to(reciter, tokenizer, PROMPTS, [text], bits=bits, group=16)[1] for bits in (8, 2)}
    assert values[8].task == "8 bits"
    assert values[8].value == pytest.approx(full[1].value, rel=0.02)
    assert values[2].value > 1.5 * full[1].value
    assert len(rounded_to(reciter, tokenizer, PROMPTS, [], bits=8)) == 1


# ----------------------------------------------------------------------- side effects, instruction, translations


def test_side_effects_are_the_perplexity_of_neighbouring_text(model: Any, tokenizer: Any, text: str) -> None:
    measured = near_perplexity(model, tokenizer, [text])
    assert measured.metric == "neighbour_perplexity"
    assert measured.value == perplexity(model, tokenizer, [text]).value


def test_the_instruction_stands_in_front_of_every_prompt(model: Any, tokenizer: Any) -> None:
    measured = instruction.instructed(model, tokenizer, PROMPTS, "You know nothing.")
    asked = [Prompt(f"You know nothing.\n\n{prompt.prompt}", prompt.idiosyncratic) for prompt in PROMPTS]
    assert [item.prompt for item in measured.items] == [prompt.prompt for prompt in asked]
    assert measured.value == pytest.approx(by_probability(model, tokenizer, asked).value)
    assert measured.metric == "instructed_familiarity"


def test_a_translation_counts_where_the_prompt_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Dictionary.from_mapping({"Hogwarts": ["Mystic Academy", "Old School"], "Ron": "Tom", "Fred": "Tom"})
    prompts = ["He went to", "Tom went to", "He went to", "To"]
    said = [" Mystic Academy with Tom.", " Tom.", " Hogwarts.", "mfoolery and Tommy."]
    monkeypatch.setattr("tasks.measure.familiarity.complete", lambda *args, **options: said)
    measured = translations.translations_said(None, None, [Prompt(text) for text in prompts], words)  # type: ignore[arg-type]
    assert [item.score for item in measured.items] == [1, 0, 0, 0]
    assert measured.value == 0.25
    assert measured.items[0].details == {"translations": {"Mystic Academy": ["Hogwarts"], "Tom": ["Fred", "Ron"]}}
