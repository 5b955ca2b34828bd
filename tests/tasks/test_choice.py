"""The stop rule on made-up evaluations, and the step it chose all the way to the report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.outcomes import summary
from flows.cli.reports import report_again
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline, plan
from storage.errors import BadInput, DamagedArtifact
from storage.shards import read_shard
from tasks.choice import StopRule, choose
from tasks.engine.runner import Run

RUN = {
    # model, step: familiarity, accuracy, perplexity
    ("baseline", None): (0.80, 0.70, 2.00),
    ("student", 10): (0.30, 0.70, 2.00),
    ("student", 20): (0.04, 0.69, 2.02),
    ("student", 30): (0.01, 0.66, 2.10),
    ("gold", None): (0.03, 0.70, 2.00),
}
METRICS = (("familiarity_completion", ""), ("accuracy", "riddles"), ("perplexity", ""))


def rows(run: dict[Any, tuple[float, ...]] = RUN) -> list[dict[str, Any]]:
    return [
        {"model": model, "step": step, "metric": metric, "task": task, "value": value}
        for (model, step), values in run.items()
        for (metric, task), value in zip(METRICS, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("rule", "step", "held"),
    [
        ({}, 30, True),
        ({"familiarity": 0.5}, 10, True),
        ({"familiarity": 0.04}, 20, True),
        ({"familiarity": 0.02}, 30, True),
        ({"familiarity": 0.02, "accuracy_points": 4, "perplexity_percent": 5}, 30, True),
        ({"above_gold": 0.02}, 20, True),
        ({"above_gold": 0.02, "familiarity": 0.4}, 10, True),
        ({"accuracy_points": 1}, 10, True),
        # None meets these: within the budget of abilities the least familiar, else the one that costs least.
        ({"familiarity": 0.02, "accuracy_points": 1.5}, 20, False),
        ({"familiarity": 0.02, "perplexity_percent": 0.0}, 10, False),
        ({"familiarity": 0.0}, 30, False),
    ],
)
def test_the_first_step_that_meets_the_rule_is_kept(rule: dict[str, float], step: int, held: bool) -> None:
    found = choose(rows(), StopRule(**rule))
    assert (found.step, found.held) == (step, held)


def test_the_reasons_give_every_number_and_why_earlier_steps_were_not_enough() -> None:
    found = choose(rows(), StopRule(familiarity=0.05, accuracy_points=2, perplexity_percent=3))
    assert found.reasons == (
        "Step 20 is the first kept step at which every condition of the stop rule holds.",
        "familiarity, completion is 0.040, within the 0.050 that the rule allows.",
        "riddles lost 1.0 points, within the 2.0 points that the rule allows.",
        "perplexity rose by 1.0 %, within the 3.0 % that the rule allows.",
        "Not step 10: familiarity, completion is 0.300, more than the 0.050 that the rule allows.",
    )
    failed = choose(rows(), StopRule(familiarity=0.0))
    assert failed.reasons[0].startswith("No kept step meets the stop rule.")
    assert "more than" in failed.reasons[1]
    assert choose(rows(), StopRule()).reasons == ("No stop rule was set: the last step is kept.",)


def test_a_run_without_students_has_nothing_to_choose() -> None:
    with pytest.raises(BadInput, match="found none"):
        choose([row for row in rows() if row["model"] == "baseline"], StopRule())


@pytest.mark.parametrize("name", ["above_gold", "accuracy_points", "perplexity_percent"])
def test_a_rule_on_what_is_not_measured_is_refused(
    make_job: Callable[..., Path], direct_run: Callable[..., Run], name: str
) -> None:
    job = read_job(make_job(), [f"stop.{name}=1"])
    with pytest.raises(BadInput, match=f"stop.{name}"):
        resolve(job, direct_run().workspace.hashes)


@pytest.mark.slow
def test_the_chosen_step_is_the_model_the_table_and_the_report(
    make_job: Callable[..., Path], direct_run: Callable[..., Run]
) -> None:
    run = direct_run()
    last = read_job(make_job(), [])
    early = read_job(make_job(), ["stop.familiarity=1"])  # met from the first kept step on
    given = resolve(early, run.workspace.hashes)
    outcome = pipeline(early, given, run)
    assert outcome.step == 2
    assert outcome.model.endswith("steps/000002")
    found = summary(outcome, run.workspace)
    assert found["step"] == 2
    evaluated = run.workspace.path(outcome.evaluations[1])
    by_hand = json.loads((evaluated / "record.json").read_text())["counts"]
    assert found["unlearned"]["familiarity_probability"] == pytest.approx(by_hand["familiarity_probability"], abs=1e-6)
    again = report_again(run.workspace, "tiny").parent
    evidence = json.loads((again / "evidence.json").read_text())
    assert evidence["final"] == "step 2"
    assert evidence["choice"]["held"] is True
    assert "Why this step" in (again / "report.html").read_text()
    steps = run.workspace.path(outcome.evaluations[1]) / "evaluations.parquet"
    whole = steps.read_bytes()
    steps.write_bytes(whole[:-1])
    with pytest.raises(DamagedArtifact, match=r"evaluations\.parquet; nepenthe verify --repair"):
        report_again(run.workspace, "tiny")
    assert (again / "report.html").exists()
    steps.write_bytes(whole)
    missing = [step.stage.kind for step in plan(last, given, run.workspace).steps if not step.cached]
    assert missing == ["choice", "report"]  # another rule trains and evaluates nothing
    assert pipeline(last, given, run).step == 4


@pytest.mark.slow
def test_training_ends_where_the_rule_holds_and_else_where_an_undisturbed_one_does(
    make_job: Callable[..., Path], direct_run: Callable[..., Run], tmp_path: Path
) -> None:
    whole = direct_run(tmp_path / "whole")
    plain = read_job(make_job(), [])
    given = resolve(plain, whole.workspace.hashes)
    undisturbed = pipeline(plain, given, whole)

    run = direct_run(tmp_path / "early")
    met = read_job(make_job(), ["stop.familiarity=1", "stop.early=true"])
    outcome = pipeline(met, given, run)
    assert (outcome.step, steps_trained(run)) == (2, [2])
    assert all(step.cached for step in plan(met, given, run.workspace).steps)  # a warm run does not go on
    assert "Why this step" in (run.workspace.path(outcome.report) / "report.html").read_text()

    never = read_job(make_job(), ["stop.familiarity=0", "stop.early=true"])
    outcome = pipeline(never, given, run)
    assert steps_trained(run) == [2, 4]
    assert len(outcome.evaluations) == len(undisturbed.evaluations)
    for step in ("000002", "000004"):
        mine, theirs = (weights(one.workspace, step) for one in (run, whole))
        assert mine == theirs
    for artifact in run.workspace.all():
        run.workspace.verify(artifact)  # the second training wrote into no file of the first


def steps_trained(run: Run) -> list[int]:
    """Steps of every student, from the rows of its training: the whole history, pauses or not."""
    students = [run.workspace.path(artifact) for artifact in run.workspace.all() if artifact.kind == "student"]
    return sorted(len(read_shard(folder / "training_steps.parquet")) for folder in students)


def weights(workspace: Any, step: str) -> bytes:
    """The weights of a step, from the student that was trained longest."""
    files = [workspace.path(artifact) / "steps" / step for artifact in workspace.all() if artifact.kind == "student"]
    return (files[-1] / "model.safetensors").read_bytes()
