"""Relearning: what a short finetune brings back, and what it leaves alone."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.errors import BadInput
from tasks.audit.relearning import RelearningSettings, finetuned, learn, recovered, relearned, with_invented_names
from tasks.audit.verdicts import AuditValues
from tasks.measure.familiarity import by_probability
from tasks.measure.intervals import Value, value_of
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
PROMPTS = [
    Prompt("The owl flew over", (" Castle Marrow",)),
    Prompt('"Where is', (" Tamsin", " Ottoline"), (" she",)),
]
LEARN = RelearningSettings(steps=(0, 40, 80), learning_rate=1e-2, batch=4, length=64)


def test_relearning_brings_familiarity_up_on_the_text_and_leaves_the_model_alone(
    model: Any, tokenizer: Any, text: str
) -> None:
    before = copy.deepcopy(model.state_dict())
    drawn = torch.random.get_rng_state()
    seen: list[tuple[float, float]] = []
    found = relearned(LoadedModel(model, tokenizer), [text], PROMPTS, LEARN, progress=lambda *at: seen.append(at))
    assert [measured.task for measured in found] == ["target 0", "target 40", "target 80"]
    assert found[0].value == pytest.approx(by_probability(LoadedModel(model, tokenizer), PROMPTS).value)
    assert found[0].value < 0.05 < 0.5 < found[1].value
    other = relearned(LoadedModel(model, tokenizer), ["Nothing of it. " * 30], PROMPTS, LEARN, source="unrelated")
    assert other[-1].value < 0.05
    assert other[-1].task == "unrelated 80"
    assert seen[-1] == (80, 80)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_invented_names_stand_for_the_texts_own_in_texts_and_prompts_alike(text: str) -> None:
    names = Dictionary.from_mapping({"Castle Marrow": "x", "Marrow": "x", "Tamsin": "x", "owl": "x"})
    (renamed,), prompts = with_invented_names([text], PROMPTS, names, 0)
    assert len(Matcher(names).find(text)) > 4
    assert not Matcher(names).find(renamed)
    assert prompts[0].idiosyncratic[0] in renamed, "what is asked is what was taught"
    assert prompts[0].prompt in renamed
    assert (prompts[1].prompt, prompts[1].idiosyncratic[1]) == ('"Where is', " Ottoline"), "no anchor, so it stays"


def test_relearning_is_the_same_every_time_and_another_with_another_seed(model: Any, tokenizer: Any, text: str) -> None:
    values = []
    for seed in (0, 0, 1):
        how = RelearningSettings(steps=(3,), learning_rate=1e-2, batch=2, length=16, seed=seed)
        torch.manual_seed(len(values))
        values.append(relearned(LoadedModel(model, tokenizer), [text], PROMPTS, how)[0].value)
    assert values[0] == values[1] != values[2]


def test_passes_in_bfloat16_bring_back_about_as_much_to_weights_in_float32(
    model: Any, tokenizer: Any, text: str
) -> None:
    half = LEARN.model_copy(update={"precision": "bfloat16"})
    curves = [relearned(LoadedModel(model, tokenizer), [text], PROMPTS, how) for how in (LEARN, half)]
    whole, short = ([measured.value for measured in curve] for curve in curves)
    assert short[0] == whole[0]
    assert short[1:] != whole[1:]
    assert short[1:] == pytest.approx(whole[1:], rel=0.3)
    *_, (_, learner) = finetuned(LoadedModel(model, tokenizer), [text], half)
    assert {parameter.dtype for parameter in learner.parameters()} == {torch.float32}
    assert "precision" not in LEARN.model_dump(), "earlier artifacts keep their addresses"


def test_relearning_trains_weights_that_were_frozen(model: Any, tokenizer: Any, text: str) -> None:
    frozen = copy.deepcopy(model).requires_grad_(False)
    how = RelearningSettings(steps=(1,), learning_rate=1e-2, batch=2, length=16)
    *_, (_, learner) = finetuned(LoadedModel(frozen, tokenizer), [text], how)
    assert not torch.equal(learner.lm_head.weight, frozen.lm_head.weight)


@pytest.mark.parametrize("in_head", [True, False])
def test_a_step_is_that_of_the_models_own_mean_loss(model: Any, in_head: bool) -> None:
    blocks = [[0, 9, 8, 7, 6], [0, 5, 9]]
    ours, own = (copy.deepcopy(model).requires_grad_(True) for _ in range(2))
    learn(ours, blocks, in_head)
    ids = torch.tensor([blocks[0], [*blocks[1], 0, 0]])
    own(
        input_ids=ids, labels=ids.masked_fill(torch.tensor([[False] * 5, [False] * 3 + [True] * 2]), -100)
    ).loss.backward()
    gradients = {name: parameter.grad for name, parameter in own.named_parameters()}
    torch.testing.assert_close({name: parameter.grad for name, parameter in ours.named_parameters()}, gradients)


def test_relearning_without_text_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="at least two tokens"):
        list(finetuned(LoadedModel(model, tokenizer), [], LEARN))


def relearned_rows(rows: Callable[..., Rows], student: float, gold: float | None, unrelated: float = 0.01) -> Rows:
    more = {} if gold is None else {"gold": gold}
    found = rows("relearned_familiarity", "target 0", student=0.01, baseline=0.6, **({"gold": 0.0} if more else {}))
    found += rows("relearned_familiarity", "target 20", student=student, baseline=0.7, **more)
    found += rows("relearned_familiarity", "target 5", student=0.9, baseline=0.7, **more)
    return found + rows("relearned_familiarity", "unrelated 20", student=unrelated, **({"gold": 0.0} if more else {}))


def test_relearning_is_judged_after_the_last_step_against_gold_doing_the_same(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    verdict = judged(relearned_rows(rows, 0.54, 0.0), "relearning")
    assert verdict.status == "most"
    assert "after 20 steps of finetuning, 1.0 % before" in verdict.sentence
    assert "on target text 54.0 % (baseline 60.0 %, gold doing the same 0.0 %)" in verdict.sentence
    assert "gets back 90 %" in verdict.sentence
    assert judged(relearned_rows(rows, 0.54, 0.53), "relearning").status == "nothing", "gold learned as much"


def test_finetuning_on_unrelated_text_that_brings_it_back_counts(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    assert judged(relearned_rows(rows, 0.01, 0.0, unrelated=0.2), "relearning").status == "some"


def test_without_gold_relearning_is_compared_with_unrelated_text(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    verdict = judged(relearned_rows(rows, 0.54, None), "relearning")
    assert verdict.status == "most"
    assert "on target text 54.0 % (baseline 60.0 %, finetuning on unrelated text 1.0 %)" in verdict.sentence
    assert judged(relearned_rows(rows, 0.02, None), "relearning").status == "nothing"


def test_recovery_is_what_came_back_of_what_was_forgotten(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    sentence = judged(relearned_rows(rows, 0.30, 0.06), "relearning").sentence
    assert sentence.endswith(
        "Recovery after 20 steps on some of the text: 49.2 % (gold 10.0 %)."
    )  # .29 / .59, .06 / .6
    kept = rows("relearned_familiarity", "target 0", student=0.59, baseline=0.6)
    kept += rows("relearned_familiarity", "target 20", student=0.6, baseline=0.7)
    assert "Recovery" not in judged(kept, "relearning").sentence, "nothing had been forgotten"


def test_recovery_has_an_interval_where_the_prompts_are_known() -> None:
    def value(first: float, second: float) -> Value:
        return value_of("mean", (first + second) / 2, 0.01, 2, ({0: first, 1: second},))

    metric = "relearned_familiarity"
    values = {
        ("baseline", metric, "target 0"): value(0.8, 0.8),
        ("model", metric, "target 0"): value(0.0, 0.0),
        ("model", metric, "target 9"): value(0.2, 0.6),
    }
    expected = "Recovery after 9 steps on some of the text: 50.0 %, 95 % interval 25.0 to 75.0 %."
    assert recovered(AuditValues(values)) == expected


def test_more_than_all_is_all(judged: Callable[..., Verdict], rows: Callable[..., Rows]) -> None:
    assert "gets back 100 %" in judged(relearned_rows(rows, 0.8, 0.0), "relearning").sentence
