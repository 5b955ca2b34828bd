"""Extraction strength against generating token by token from every beginning."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from tasks.audit.common import LoadedModel
from tasks.audit.extraction import extraction_strength
from tasks.audit.verdicts import Verdict
from tasks.measure.scoring import encode

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
        measured = extraction_strength(LoadedModel(one, tokenizer, 3), sentences)
        expected = [slow_strength(one.eval(), encode(tokenizer, [sentence])[0].ids) for sentence in sentences]
        assert [item.score for item in measured.items] == pytest.approx(expected)
        assert [item.prompt + item.expected for item in measured.items] == sentences
    assert measured.value > 0.3


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
