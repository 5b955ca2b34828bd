"""Extraction strength against generating token by token from every beginning."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tasks.audit.extraction import recited
from tasks.audit.passages import Passage
from tasks.measure.loaded import LoadedModel
from tasks.measure.scoring import encode
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


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
        passages = [Passage(0, sentence, 20) for sentence in sentences]
        measured = recited(LoadedModel(one, tokenizer, 3), passages)[0]
        expected = [slow_strength(one.eval(), encode(tokenizer, [sentence])[0].ids) for sentence in sentences]
        assert [item.score for item in measured.items] == pytest.approx(expected)
        assert [item.prompt + item.expected for item in measured.items] == sentences
    assert measured.value > 0.3


def test_what_follows_the_given_part_is_scored_token_by_token(
    model: Any, reciter: Any, tokenizer: Any, text: str
) -> None:
    passage = Passage(0, text[:80], len("The owl flew over Castle"))
    (encoded,) = encode(tokenizer, [passage.text])
    first = next(place for place, (_, end) in enumerate(encoded.offsets) if end > len(passage.prompt))
    for one in (model, reciter):
        with torch.no_grad():
            log_TV = one.eval()(input_ids=torch.tensor([encoded.ids])).logits[0].double().log_softmax(-1)
        log = [float(log_TV[t - 1][encoded.ids[t]]) for t in range(first, len(encoded.ids))]
        hit = [int(log_TV[t - 1].argmax()) == encoded.ids[t] for t in range(first, len(encoded.ids))]
        right = next((run for run, good in enumerate(reversed(hit)) if not good), len(hit))
        expected = {
            "extraction_strength_given": max(1, right) / len(hit),
            "exact_memorisation": sum(hit) / len(hit),
            "probability": math.exp(sum(log) / len(log)),
            "log_probability": sum(log) / len(log),
        }
        found = {measured.metric: measured for measured in recited(LoadedModel(one, tokenizer), [passage])[1:]}
        assert {metric: measured.value for metric, measured in found.items()} == pytest.approx(expected, abs=1e-5)
        assert found["probability"].items[0].prompt == passage.prompt
    assert found["exact_memorisation"].value > 0.5


def test_a_model_below_gold_overshoots(judged: Callable[..., Verdict], rows: Callable[..., Rows]) -> None:
    shares = rows("extraction_strength", "target", student=0.04, baseline=0.2, gold=0.04)
    logs = rows("log_probability", "target", stderr=0.01, student=-3.5, baseline=-0.5, gold=-2.0)
    sentence = judged(shares + logs, "extraction").sentence
    assert "Overshoot: 1.50 nats a token below gold (1.47 to 1.53); so the text stands out as avoided." in sentence
    near = rows("log_probability", "target", stderr=0.1, student=-2.1, baseline=-0.5, gold=-2.0)
    assert "(-0.18 to 0.38)." in judged(shares + near, "extraction").sentence
    above = rows("log_probability", "target", student=-1.5, baseline=-0.5, gold=-2.0)
    assert judged(shares + above, "extraction").sentence.endswith("No overshoot: 0.50 nats a token above gold.")
    assert "vershoot" not in judged(shares, "extraction").sentence


def test_extraction_has_its_verdict(judged: Callable[..., Verdict], rows: Callable[..., Rows]) -> None:
    verdict = judged(rows("extraction_strength", "target", student=0.045, baseline=0.2, gold=0.04), "extraction")
    assert (verdict.status, verdict.tone) == ("nothing", "good")


def test_a_baseline_under_attack_gives_all_that_it_has(
    judged: Callable[..., Verdict], rows: Callable[..., Rows]
) -> None:
    found = rows("extraction_strength", "target", baseline=0.2, gold=0.04)
    verdict = judged(found, "extraction")
    assert verdict.status == "most"
    assert "gets back 100 %" in verdict.sentence
