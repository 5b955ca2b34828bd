"""Values, intervals and changes against plain arithmetic; verdicts on numbers made up for each rule."""

import math

import pytest

from storage.reader import reader
from storage.workspace import Workspace
from tasks.measure.intervals import Change, Value
from tasks.measure.results import Measure, Subject, change, final, measured, widened
from tasks.report.evidence import ReportInputs
from tasks.report.verdicts import forgotten, headline_of_forgetting, headline_of_keeping, kept

STUDENT = Subject("step 20", "student", 20, "", None)  # type: ignore[arg-type]


def a_measure(
    before: float,
    after: float,
    change: tuple[float, float, float],
    metric: str = "familiarity_probability",
    gold: float | None = None,
) -> Measure:
    subjects = {"baseline": before, "step 20": after} | ({} if gold is None else {"gold": gold})
    values = {name: Value(value, value, value + 0.01, 100) for name, value in subjects.items()}
    changes = {("step 20", "baseline"): Change(*change, 100)}
    if gold is not None:
        changes["step 20", "gold"] = Change(after - gold, after - gold - 0.01, after - gold + 0.01, 100)
    return Measure(metric, "", values, changes)


def test_models_come_as_baseline_steps_gold_and_the_last_step_is_final(
    made_up_run: tuple[Workspace, ReportInputs],
) -> None:
    workspace, made = made_up_run
    with reader() as connection:
        folders = [(e.fingerprint, workspace.path(e)) for e in reversed(made.evaluations)]
        models, measures = measured(connection, folders)
    assert [model.key for model in models] == ["baseline", "step 20", "step 40", "gold"]
    assert (found := final(models)) is not None
    assert found.step == 40
    assert [measure.kind for measure in measures] == ["familiarity", "familiarity", "perplexity", "ability", "ability"]
    completion = measures[1]
    assert "gold" in completion.values
    assert completion.changes["step 40", "baseline"] == [*completion.changes.values()][2]


def test_a_change_is_the_mean_difference_over_the_items_that_both_have() -> None:
    before = [{"item": n, "score": 1.0, "tokens": None} for n in range(10)]
    after = [{"item": n, "score": float(n % 2), "tokens": None} for n in range(8)]
    found = change(before, after, perplexity=False)
    assert found is not None
    assert (found.difference, found.count) == (-0.5, 8)
    assert found.low <= -0.5 <= found.high
    assert change(before, [], perplexity=False) is None


def test_the_change_of_perplexity_is_relative_and_weighs_windows_by_their_tokens() -> None:
    tokens, old, new = [100, 300, 50], [1.0, 2.0, 1.5], [1.1, 2.0, 1.2]
    before = [{"item": n, "score": score, "tokens": tokens[n]} for n, score in enumerate(old)]
    after = [{"item": n, "score": score, "tokens": tokens[n]} for n, score in enumerate(new)]
    perplexities = [math.exp(sum(map(math.prod, zip(tokens, side, strict=True))) / sum(tokens)) for side in (old, new)]
    found = change(before, after, perplexity=True)
    assert found is not None
    assert found.difference == pytest.approx(perplexities[1] / perplexities[0] - 1)


def test_items_that_all_change_alike_get_an_interval_all_the_same() -> None:
    assert widened(Change(-1.0, -1.0, -1.0, 10)).high == pytest.approx(-10 / (10 + 1.959964**2))
    assert widened(Change(-1.0, -1.0, -1.0, 10)).low == -1.0
    none = widened(Change(0.0, 0.0, 0.0, 50))
    assert (none.low, none.high) == (pytest.approx(-0.07135, abs=1e-4), pytest.approx(0.07135, abs=1e-4))


@pytest.mark.parametrize(
    ("measure", "status"),
    [
        (a_measure(0.001, 0.001, (0.0, -0.001, 0.001)), "blind"),
        (a_measure(0.8, 0.75, (-0.05, -0.11, 0.01)), "unchanged"),
        (a_measure(0.4, 0.6, (0.2, 0.1, 0.3)), "increased"),
        (a_measure(0.8, 0.3, (-0.5, -0.6, -0.4)), "reduced"),
        (a_measure(0.8, 0.01, (-0.79, -0.8, -0.7)), "gone"),
        (a_measure(0.8, 0.31, (-0.49, -0.6, -0.4), gold=0.3), "gone"),
        (a_measure(0.8, 0.31, (-0.49, -0.6, -0.4), gold=0.0), "reduced"),
    ],
)
def test_the_verdict_on_familiarity_follows_the_interval(measure: Measure, status: str) -> None:
    assert [verdict.status for verdict in forgotten([measure], STUDENT)] == [status]


@pytest.mark.parametrize(
    ("difference", "metric", "status"),
    [
        ((0.0, -0.01, 0.01), "accuracy", "kept"),
        ((0.0, -0.07, 0.07), "accuracy", "unsure"),
        ((-0.05, -0.12, 0.01), "accuracy", "unsure"),
        ((-0.05, -0.09, -0.01), "accuracy", "lost"),
        ((-0.05, -0.06, -0.04), "accuracy", "lost"),
        ((0.01, -0.01, 0.025), "perplexity", "kept"),
        ((0.05, 0.01, 0.08), "perplexity", "lost"),
        ((-0.10, -0.2, -0.05), "perplexity", "kept"),
    ],
)
def test_an_ability_is_kept_only_where_a_loss_is_excluded(
    difference: tuple[float, float, float], metric: str, status: str
) -> None:
    assert [verdict.status for verdict in kept([a_measure(0.7, 0.7, difference, metric)], STUDENT)] == [status]


def test_headlines_never_say_forgotten_without_evidence() -> None:
    blind, gone = a_measure(0.001, 0.001, (0, 0, 0)), a_measure(0.8, 0.0, (-0.8, -0.9, -0.7))
    assert "cannot show" in headline_of_forgetting(forgotten([blind], STUDENT))
    assert "could not tell" in headline_of_forgetting(forgotten([blind, gone], STUDENT))
    assert "next to nothing" in headline_of_forgetting(forgotten([gone], STUDENT))
    assert headline_of_forgetting([]) == "Nothing was measured that could show forgetting."
    assert "not known" in headline_of_keeping([])
