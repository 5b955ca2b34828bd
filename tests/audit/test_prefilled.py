"""The rest of a name whose first tokens are given: the product of the tokens' probabilities, by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tasks.audit.summary import headline
from tasks.measure.familiarity import when_begun
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt

PROMPTS = [Prompt("The boy lived in", (" Felicis", " the house")), Prompt("He said", (" Quidditch",)), Prompt("So", ())]


def by_hand(model: Any, tokenizer: Any, prompt: Prompt, given: int) -> list[float]:
    """Of each name that is longer, the probability of what follows its first tokens."""
    context = tokenizer(prompt.prompt)["input_ids"][:-1]
    rests = []
    for name in prompt.idiosyncratic:
        ids = tokenizer(prompt.prompt + name)["input_ids"][:-1]
        log_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        rest = range(len(context) + given, len(ids))
        if rest:
            rests.append(float(sum(log_TV[place - 1, ids[place]] for place in rest).exp()))
    return rests


@pytest.mark.parametrize("given", [1, 2, 3])
@torch.no_grad()
def test_the_rest_of_a_name_is_worth_the_product_of_its_tokens(model: Any, tokenizer: Any, given: int) -> None:
    measured = when_begun(LoadedModel(model, tokenizer), PROMPTS, given)
    assert measured
    rests = [rests for prompt in PROMPTS if (rests := by_hand(model, tokenizer, prompt, given))]
    assert [item.score for item in measured.items] == pytest.approx([sum(rest) / len(rest) for rest in rests], rel=1e-4)
    assert measured.value == pytest.approx(sum(item.score or 0 for item in measured.items) / len(rests))
    assert measured.task == ("1 token" if given == 1 else f"{given} tokens")


def test_a_name_without_a_rest_is_not_asked_for(model: Any, tokenizer: Any) -> None:
    assert when_begun(LoadedModel(model, tokenizer), PROMPTS, 50) is None


def test_it_is_judged_by_the_gravest_number_of_given_tokens(
    rows: Callable[..., Any], judged: Callable[..., Any]
) -> None:
    values = rows("prefilled_familiarity", "1 token", model=0.1, baseline=0.9, gold=0.1)
    assert judged(values, "prefilled").status == "nothing"
    values += rows("prefilled_familiarity", "2 tokens", model=0.9, baseline=0.95, gold=0.3)
    verdict = judged(values, "prefilled")
    assert verdict.status == "most"
    assert "2 tokens given 90.0 % (baseline 95.0 %, gold 30.0 %)" in verdict.sentence
    assert headline([verdict]) == "Most of what the baseline knew comes back by beginnings of names."
