"""Membership inference: scores worked out token by token, the AUC by counting pairs."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.audit.membership import inferred, lowest_mean
from tasks.audit.passages import PassageSettings, draw_passages
from tasks.measure.loaded import LoadedModel
from tasks.measure.memorisation import auc
from tasks.measure.scoring import encode
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]
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
    found = {
        measured.task: measured for measured in inferred(LoadedModel(model, tokenizer), texts[:1], texts[1:], share=0.3)
    }
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
        count, more = (max(1, int(len(log) * share)) for share in (0.3, 0.4))
        expected = {
            "loss": sum(log) / len(log),
            "zlib": sum(log) / len(zlib.compress(one.encode())),
            "min-k": sum(sorted(log)[:count]) / count,
            "min-k++": sum(sorted(standard)[:count]) / count,
            "min-k 0.4": sum(sorted(log)[:more]) / more,
        }
        assert {task: measured.items[number].score for task, measured in found.items()} == pytest.approx(
            expected, abs=1e-3
        )
        assert found["loss"].items[number].details == {"member": number == 0}


def test_a_model_that_knows_the_text_tells_it_from_other_text(
    reciter: Any, model: Any, tokenizer: Any, text: str
) -> None:
    members = [
        passage.text for passage in draw_passages(tokenizer, [text], PassageSettings(count=9, tokens=20, given=10))
    ]
    others = [" ".join(reversed(member.split())) for member in members]
    knows = {measured.task: measured.value for measured in inferred(LoadedModel(reciter, tokenizer), members, others)}
    assert min(knows.values()) > 0.9, knows
    assert inferred(LoadedModel(model, tokenizer), members, others)[0].value < 0.9


@pytest.mark.parametrize(
    ("student", "gold", "status"),
    [(0.9, 0.5, "most"), (0.54, 0.5, "nothing"), (0.3, 0.5, "avoided"), (0.3, None, "avoided")],
)
def test_membership_shows_above_the_reference_and_far_below_it(
    judged: Callable[..., Verdict], rows: Callable[..., Rows], student: float, gold: float | None, status: str
) -> None:
    found = rows("membership_auc", "loss", student=student, baseline=0.95, **({"gold": gold} if gold else {}))
    verdict = judged(found, "membership")
    assert verdict.status == status
    assert ("stands out as avoided" in verdict.sentence) == (student == 0.3)
    assert ("innocence 0.50" in verdict.sentence) == (gold is None)
