"""A grid of learning rates and steps: what is made once, which wins, and what is said about it."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.outcomes import tuned_table
from flows.inputs import resolve
from flows.job import job_of, read_job
from flows.tune import MOST, USUAL, arms, numbers_of, pipeline, tuned_numbers
from flows.unlearn import plan
from storage.errors import BadInput
from tasks.engine.runner import Run

Jobs = Callable[..., Path]


@pytest.mark.slow
def test_labels_are_made_once_and_the_suggestion_is_found_in_the_cache(
    make_job: Jobs, direct_run: Callable[..., Run]
) -> None:
    run, job = direct_run(), read_job(make_job(), ["stop.familiarity=1"])
    given, tried = resolve(job, run.workspace.hashes), arms(job, (1e-3, 1e-4), (2, 1))
    tuned = pipeline(tried, given, run)
    kinds = [artifact.kind for artifact in run.workspace.all()]
    assert {kind: kinds.count(kind) for kind in ("reinforce", "logits", "labels", "student", "evaluation")} == {
        "reinforce": 1, "logits": 1, "labels": 1, "student": 4, "evaluation": 5
    }  # fmt: skip
    numbers = tuned_numbers(tuned, run.workspace)
    assert [(arm["steps"], arm["learning_rate"]) for arm in numbers["arms"]] == [
        (1, 1e-4), (1, 1e-3), (2, 1e-4), (2, 1e-3)
    ]  # fmt: skip
    assert numbers["held"]
    assert numbers["student"] == {"learning_rate": 1e-4, "steps": 1, "keep": []}  # all hold: the cheapest
    assert len({arm["measures"]["familiarity_probability"] for arm in numbers["arms"]}) == 4
    shown = tuned_table(numbers)
    suggested = tomllib.loads(shown[shown.index("[student]") :])
    own = job.model_dump(exclude_unset=True)
    again = job_of(own | {"student": own["student"] | suggested["student"]})
    steps = plan(again, resolve(again, run.workspace.hashes), run.workspace).steps
    assert next(step.cached for step in steps if step.stage.kind == "student")


@pytest.mark.slow
def test_without_an_arm_that_is_enough_the_one_that_oversteps_least_is_named(
    make_job: Jobs, direct_run: Callable[..., Run]
) -> None:
    run, job = direct_run(), read_job(make_job(), ["stop.familiarity=0"])
    numbers = tuned_numbers(
        pipeline(arms(job, (1e-3,), (1, 4)), resolve(job, run.workspace.hashes), run), run.workspace
    )
    assert not numbers["held"]
    worst = {
        arm["steps"]: max(value for name, value in arm["measures"].items() if name.startswith("familiarity"))
        for arm in numbers["arms"]
    }
    assert numbers["student"]["steps"] == min(worst, key=lambda steps: worst[steps])
    assert "None is enough" in tuned_table(numbers)


def test_the_grid_is_about_the_jobs_own_settings_and_bounded(make_job: Jobs) -> None:
    job = read_job(make_job(), [])
    tried = arms(job)
    assert [(arm.student.steps, arm.student.learning_rate) for arm in tried] == [
        (steps, rate) for steps in (2, 4) for rate in (3e-4, 1e-3, 3e-3)
    ]
    assert {arm.student.kept for arm in tried} == {(2,), (4,)}
    assert {(arm.evaluation.suite.prompts, arm.evaluation.suite.questions) for arm in tried} == {(4, 100)}
    assert {arm.labels for arm in tried} == {job.labels}
    assert USUAL.given
    with pytest.raises(BadInput, match=f"at most {MOST} pairs"):
        arms(job, tuple(range(1, 5)), tuple(range(1, 5)))


@pytest.mark.parametrize(("option", "text", "kind"), [("--rates", "fast", float), ("--steps", "1.5", int),
                                                       ("--steps", "0", int), ("--rates", "nan", float)])  # fmt: skip
def test_what_is_no_list_of_numbers_is_refused(option: str, text: str, kind: type) -> None:
    with pytest.raises(BadInput, match=f"{option}: expected"):
        numbers_of(option, text, kind)
    assert numbers_of("--rates", "1e-5,3e-5", float) == (1e-5, 3e-5)


def test_a_grid_that_cannot_be_tried_is_refused_before_the_engine_starts(
    make_job: Jobs, command: Callable[..., Any]
) -> None:
    no_engine = "import flows.cli\nflows.cli.start_engine = lambda *_: sys.exit('the engine started')"
    job = make_job()
    refused = command("tune", job, "--rates", "fast", "--root", job.parent / "ws", patch=no_engine)
    assert refused.returncode == 2
    assert "--rates: expected numbers above zero between commas, found 'fast'" in refused.stderr
