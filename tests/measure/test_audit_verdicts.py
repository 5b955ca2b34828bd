"""Every rule of the verdicts: numbers in, status and the sentence's facts out."""

import json
from typing import Any

import pytest

from tasks.audit import ATTACK_OF
from tasks.audit.summary import headline, values_of, verdicts
from tasks.audit.verdicts import GRAVEST, TONES, WORDS, Case, Verdict, status_of
from tasks.measure.intervals import Value, groups_of

Rows = list[dict[str, Any]]


def rows(metric: str, task: str = "", stderr: float = 0.001, **values: float) -> Rows:
    """Rows of `evaluations`: one a model, named as in the table."""
    return [
        {"model": model, "step": None, "metric": metric, "task": task, "value": value, "stderr": stderr, "items": 100}
        for model, value in values.items()
    ]


def at(value: float, stderr: float = 0.0) -> Value:
    return Value(value, value, value, 100, stderr)


def judged(found: Rows, attack: str) -> Verdict:
    (verdict,) = [verdict for verdict in verdicts(values_of(found)) if verdict.attack == attack]
    return verdict


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


def test_gold_is_the_reference_and_a_control_where_there_is_none() -> None:
    target = rows("verbatim_rouge_l", "target", student=0.4, baseline=0.5)
    runs = rows("verbatim_run", "target", student=7, baseline=11)
    gold = rows("verbatim_rouge_l", "target", gold=0.2)
    control = rows("verbatim_rouge_l", "control", student=0.39, baseline=0.2)
    with_gold = judged(target + runs + gold + control, "verbatim")
    assert with_gold.status == "most"
    assert "40.0 % (baseline 50.0 %, gold 20.0 %)" in with_gold.sentence
    assert "67 % of what separates the baseline from gold" in with_gold.sentence
    assert "in words: 7.00 (baseline 11.00)" in with_gold.sentence
    without = judged(target + runs + control, "verbatim")
    assert without.status == "nothing"
    assert "text never read 39.0 %" in without.sentence
    alone = judged(target + runs, "verbatim")
    assert (alone.status, alone.tone) == ("alone", "unknown")


def test_the_gravest_of_several_measures_decides() -> None:
    found = rows("question_accuracy", "zero-shot", student=0.3, baseline=0.9, gold=0.3)
    found += rows("question_accuracy", "hints", student=0.5, baseline=0.9, gold=0.3)
    found += rows("question_chance", student=0.25, baseline=0.25, gold=0.25)
    verdict = judged(found, "questions")
    assert verdict.status == "some"
    assert "gets back 33 %" in verdict.sentence
    assert "without hints 30.0 %" in verdict.sentence


def test_without_gold_questions_are_compared_with_guessing() -> None:
    found = rows("question_accuracy", "zero-shot", student=0.26, baseline=0.9)
    found += rows("question_chance", student=0.25, baseline=0.25)
    verdict = judged(found, "questions")
    assert verdict.status == "nothing"
    assert "guessing 25.0 %" in verdict.sentence


def test_extraction_has_its_verdict() -> None:
    verdict = judged(rows("extraction_strength", "target", student=0.045, baseline=0.2, gold=0.04), "extraction")
    assert (verdict.status, verdict.tone) == ("nothing", "good")


@pytest.mark.parametrize(
    ("student", "gold", "status"),
    [(0.9, 0.5, "most"), (0.54, 0.5, "nothing"), (0.3, 0.5, "avoided"), (0.3, None, "avoided")],
)
def test_membership_shows_above_the_reference_and_far_below_it(student: float, gold: float | None, status: str) -> None:
    found = rows("membership_auc", "loss", student=student, baseline=0.95, **({"gold": gold} if gold else {}))
    verdict = judged(found, "membership")
    assert verdict.status == status
    assert ("stands out as avoided" in verdict.sentence) == (student == 0.3)
    assert ("innocence 0.50" in verdict.sentence) == (gold is None)


def relearned(student: float, gold: float | None, unrelated: float = 0.01) -> Rows:
    more = {} if gold is None else {"gold": gold}
    found = rows("relearned_familiarity", "target 0", student=0.01, baseline=0.6, **({"gold": 0.0} if more else {}))
    found += rows("relearned_familiarity", "target 20", student=student, baseline=0.7, **more)
    found += rows("relearned_familiarity", "target 5", student=0.9, baseline=0.7, **more)
    return found + rows("relearned_familiarity", "unrelated 20", student=unrelated, **({"gold": 0.0} if more else {}))


def test_relearning_is_judged_after_the_last_step_against_gold_doing_the_same() -> None:
    verdict = judged(relearned(0.54, 0.0), "relearning")
    assert verdict.status == "most"
    assert "after 20 steps of finetuning, 1.0 % before" in verdict.sentence
    assert "on target text 54.0 % (baseline 60.0 %, gold doing the same 0.0 %)" in verdict.sentence
    assert "gets back 90 %" in verdict.sentence
    assert judged(relearned(0.54, 0.53), "relearning").status == "nothing", "gold learned as much"


def test_finetuning_on_unrelated_text_that_brings_it_back_counts() -> None:
    assert judged(relearned(0.01, 0.0, unrelated=0.2), "relearning").status == "some"


def test_without_gold_relearning_is_compared_with_unrelated_text() -> None:
    verdict = judged(relearned(0.54, None), "relearning")
    assert verdict.status == "most"
    assert "on target text 54.0 % (baseline 60.0 %, finetuning on unrelated text 1.0 %)" in verdict.sentence
    assert judged(relearned(0.02, None), "relearning").status == "nothing"


def test_more_than_all_is_all() -> None:
    assert "gets back 100 %" in judged(relearned(0.8, 0.0), "relearning").sentence


def test_quantisation_is_compared_with_the_model_as_it_is() -> None:
    found = rows("quantised_familiarity", "full", student=0.1, baseline=0.6)
    found += rows("quantised_familiarity", "8 bits", student=0.1, baseline=0.6)
    found += rows("quantised_perplexity", "8 bits", student=1.67, baseline=1.6)
    verdict = judged(found, "quantisation")
    assert verdict.status == "nothing"
    assert "Perplexity: 8 bits 1.67." in verdict.sentence
    found += rows("quantised_familiarity", "4 bits", student=0.5, baseline=0.6)
    assert judged(found, "quantisation").status == "most"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"student": 10.2, "baseline": 10.0, "gold": 9.9}, "kept"),
        ({"student": 9.0, "baseline": 10.0}, "kept"),
        ({"student": 10.5, "baseline": 10.0}, "harmed"),
        ({"student": 10.5}, "alone"),
    ],
)
def test_side_effects_are_a_rise_of_perplexity(values: dict[str, float], status: str) -> None:
    assert judged(rows("neighbour_perplexity", **values), "side-effects").status == status


@pytest.mark.parametrize(("told", "status"), [(0.5, "weaker"), (0.05, "enough"), (0.01, "enough")])
def test_an_instruction_is_compared_with_unlearning(told: float, status: str) -> None:
    found = rows("instructed_familiarity", baseline=told)
    found += rows("quantised_familiarity", "full", student=0.05, baseline=0.6)
    verdict = judged(found, "instruction")
    assert verdict.status == status
    assert "untold 60.0 %, unlearned 5.0 %" in verdict.sentence


def test_an_instructed_baseline_alone_says_nothing() -> None:
    found = rows("instructed_familiarity", baseline=0.5) + rows("quantised_familiarity", "full", baseline=0.6)
    assert judged(found, "instruction").status == "alone"


@pytest.mark.parametrize(
    ("values", "stderr", "status"),
    [
        ({"student": 0.5, "baseline": 0.1, "gold": 0.1}, 0.01, "marked"),
        ({"student": 0.5, "baseline": 0.1, "gold": 0.45}, 0.05, "unsure"),
        ({"student": 0.46, "baseline": 0.1, "gold": 0.45}, 0.01, "natural"),
        ({"student": 0.5, "baseline": 0.1}, 0.01, "marked"),
        ({"student": 0.5}, 0.01, "alone"),
        ({"baseline": 0.5}, 0.01, "alone"),
    ],
)
def test_translations_mark_a_model_that_says_them_more_than_the_reference(
    values: dict[str, float], stderr: float, status: str
) -> None:
    assert judged(rows("translation_share", stderr=stderr, **values), "translations").status == status


def test_a_baseline_under_attack_gives_all_that_it_has() -> None:
    found = rows("extraction_strength", "target", baseline=0.2, gold=0.04)
    verdict = judged(found, "extraction")
    assert verdict.status == "most"
    assert "gets back 100 %" in verdict.sentence


def items_of(metric: str, scores: dict[str, list[float]], member: int = 0) -> Rows:
    """Rows of `evaluation_items`, those before `member` marked as members."""
    return [
        {"model": model, "metric": metric, "task": "loss", "item": number, "score": score}
        | {"details": json.dumps({"member": number < member})}
        for model, column in scores.items()
        for number, score in enumerate(column)
    ]


def test_models_are_compared_on_the_same_items() -> None:
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


def test_the_headline_names_the_gravest_first_and_what_nobody_knows() -> None:
    found = rows("question_accuracy", "zero-shot", student=0.95, baseline=0.9, gold=0.3)
    found += rows("extraction_strength", "target", student=0.02, baseline=0.2, gold=0.02)
    found += relearned(0.2, 0.0)
    said = headline(verdicts(values_of(found), {"membership": "needs other text"}))
    assert said == (
        "Most of what the baseline knew comes back by questions. Some of it comes back by relearning. "
        "Nothing comes back by recitation. Not known: membership inference."
    )
    assert headline([]) == "No attack was made."
    assert (
        headline(verdicts(values_of(rows("neighbour_perplexity", student=10.5, baseline=10.0))))
        == "No attack was made."
    )


def test_every_status_has_a_word() -> None:
    statuses = {*TONES, *GRAVEST, "not made"}
    assert statuses == WORDS.keys()


def test_an_attack_that_was_not_made_says_why() -> None:
    (verdict,) = verdicts(values_of([]), {"membership": "needs other text"})
    assert (verdict.status, verdict.tone) == ("not made", "unknown")
    assert verdict.sentence == "Not made: needs other text."


def test_every_metric_belongs_to_an_attack_with_a_rule() -> None:
    for metric, attack in ATTACK_OF.items():
        if metric not in ("question_chance", "verbatim_run", "quantised_perplexity"):
            task = {"relearned_familiarity": "target 20"}.get(metric, "full" if "quantised" in metric else "target")
            assert [v.attack for v in verdicts(values_of(rows(metric, task, student=0.1)))] == [attack], metric
