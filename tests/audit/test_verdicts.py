"""What the verdicts of all attacks share: numbers in, status and the sentence's facts out."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks.audit import ATTACK_OF
from tasks.audit.summary import headline, held, values_of, verdicts
from tasks.audit.verdicts import GRAVEST, WORDS, Case, status_of
from tasks.measure.intervals import Value, groups_of
from tasks.measure.verdict import TONES

Rows = list[dict[str, Any]]


def at(value: float, stderr: float = 0.0) -> Value:
    return Value(value, value, value, 100, stderr)


@pytest.mark.parametrize(
    ("model", "baseline", "reference", "status"),
    [
        (at(0.5), at(0.6), at(0.0), "most"),
        (at(0.2), at(0.6), at(0.0), "some"),
        (at(0.02), at(0.6), at(0.0), "nothing"),
        (at(-0.3), at(0.6), at(0.0), "nothing"),
        (at(0.1, 0.06), at(0.6, 0.01), at(0.0), "unsure"),
        (at(0.01), at(0.015), at(0.0), "blind"),
        (at(0.3), at(0.4, 0.2), at(0.3, 0.1), "blind"),
        (at(0.3), at(0.4), None, "alone"),
        (at(0.3), None, at(0.1), "alone"),
    ],
)
def test_an_attack_is_judged_by_what_it_gets_beyond_the_reference(
    model: Value, baseline: Value | None, reference: Value | None, status: str
) -> None:
    assert status_of(Case("", model, baseline, reference, "gold")) == status


def items_of(metric: str, scores: dict[str, list[float]], member: int = 0) -> Rows:
    """Rows of `evaluation_items`, those before `member` marked as members."""
    return [
        {"model": model, "metric": metric, "task": "loss", "item": number, "score": score}
        | {"details": json.dumps({"member": number < member})}
        for model, column in scores.items()
        for number, score in enumerate(column)
    ]


def test_models_are_compared_on_the_same_items(rows: Callable[..., Rows]) -> None:
    """Both spread widely, but one lies above the other on every item: only the paired comparison sees it."""
    spread = [number / 20 for number in range(20)]
    scores = {"student": [score + 0.05 for score in spread], "gold": spread, "baseline": [2.0] * 20}
    values = {model: sum(column) / 20 for model, column in scores.items()}
    found = rows("extraction_strength", "target", stderr=0.066, **values)
    assert [verdict.status for verdict in verdicts(values_of(found))] == ["unsure"]
    items = [item | {"task": "target"} for item in items_of("extraction_strength", scores)]
    assert [verdict.status for verdict in verdicts(values_of(found, items))] == ["some"]
    assert [verdict.status for verdict in verdicts(values_of(found, items[:-1]))] == ["some"]
    assert [verdict.status for verdict in verdicts(values_of(found, items[1:]))] == ["unsure"], "not the same items"


def test_the_items_of_an_auc_are_two_groups_whose_means_are_the_auc() -> None:
    scores = {"student": [0.9, 0.8, 0.4, 0.5, 0.3, 0.4]}
    items = items_of("membership_auc", scores, member=3)
    members, others = groups_of("auc", items)
    wins = [(ours > theirs) + 0.5 * (ours == theirs) for ours in (0.9, 0.8, 0.4) for theirs in (0.5, 0.3, 0.4)]
    assert (members.keys(), others.keys()) == ({0, 1, 2}, {3, 4, 5})
    for group in (members, others):
        assert sum(group.values()) / 3 == pytest.approx(sum(wins) / 9)
    assert groups_of("perplexity", items) == ()


def test_the_headline_names_the_gravest_first_and_what_nobody_knows(rows: Callable[..., Rows]) -> None:
    found = rows("question_accuracy", "zero-shot", student=0.95, baseline=0.9, gold=0.3)
    found += rows("extraction_strength", "target", student=0.02, baseline=0.2, gold=0.02)
    found += rows("relearned_familiarity", "target 0", student=0.01, baseline=0.6, gold=0.0)
    found += rows("relearned_familiarity", "target 20", student=0.2, baseline=0.7, gold=0.0)
    said = headline(verdicts(values_of(found), {"membership": "needs other text"}))
    assert said == (
        "Most of what the baseline knew comes back by questions. Some of it comes back by relearning. "
        "Nothing comes back by recitation. Not known: membership inference."
    )
    found += rows("verbatim_rouge_l", "target", student=0.9, baseline=0.9, gold=0.1)
    assert headline(verdicts(values_of(found), {"membership": "needs other text"})) == said, "ROUGE-L is for the annex"
    assert headline([]) == "No attack was made."
    assert (
        headline(verdicts(values_of(rows("neighbour_perplexity", student=10.5, baseline=10.0))))
        == "No attack was made."
    )


def test_what_the_model_holds_is_said_by_extraction_strength_and_probability(rows: Callable[..., Rows]) -> None:
    found = rows("extraction_strength", "target", student=0.02, baseline=0.2, gold=0.015)
    found += rows("verbatim_rouge_l", "target", student=0.9, baseline=0.9, gold=0.1)
    assert held(values_of(found)) == "Extraction strength 2.0 % (baseline 20.0 %, gold 1.5 %)."
    found += rows("probability", "target", student=0.3, baseline=0.8) + rows("probability", "control", student=0.25)
    assert held(values_of(found)).endswith(
        "Probability of its own words 30.0 % (baseline 80.0 %, text never read 25.0 %)."
    )
    assert held(values_of([])) == ""


def test_every_status_has_a_word_and_a_tone() -> None:
    toned = {status for statuses in TONES.values() for status in statuses}
    assert set(GRAVEST) <= WORDS.keys()
    assert WORDS.keys() - toned == {"blind", "alone", "not made"}, "of these nobody can tell"


def test_an_attack_that_was_not_made_says_why() -> None:
    (verdict,) = verdicts(values_of([]), {"membership": "needs other text"})
    assert (verdict.status, verdict.tone) == ("not made", "unknown")
    assert verdict.sentence == "Not made: needs other text."


def test_every_metric_belongs_to_an_attack_with_a_rule(rows: Callable[..., Rows]) -> None:
    for metric, attack in ATTACK_OF.items():
        if metric not in ("question_chance", "verbatim_run", "quantised_perplexity"):
            task = {"relearned_familiarity": "target 20"}.get(metric, "full" if "quantised" in metric else "target")
            assert [v.about for v in verdicts(values_of(rows(metric, task, student=0.1)))] == [attack], metric
