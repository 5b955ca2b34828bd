"""Which learning rate, how many steps? Students at a small grid of both, from one set of labels, in pilot evaluations.

The cheapest that meets the stop rule wins, as `choice` would choose among steps. A job with the suggested settings
finds its student in the cache.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from prefect import flow

from flows.inputs import Inputs, inputs_of
from flows.job import NAME_CHARACTERS, Job
from flows.unlearn import ROOT, evaluate, make_labels, make_target, references, train_student
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.choice import StopRule, choose, conditions
from tasks.contents import evaluation_rows
from tasks.engine.runner import Runner, planned_run
from tasks.judgement import JudgeSettings

PILOT = {"prompts": 30, "windows": 20, "questions": 100}
"""The most that a pilot evaluation looks at."""
MOST = 12
"""Students of a grid: each takes a training, an evaluation and the room of a model."""
USUAL = StopRule(familiarity=0.02, accuracy_points=2, perplexity_percent=3)
"""What counts as enough where the job has no stop rule; of what it does not measure nothing is asked."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning leaves behind: the evaluations of every arm, in their order, and of baseline and gold."""

    arms: tuple[Job, ...]
    evaluations: tuple[tuple[Artifact, ...], ...]
    references: tuple[Artifact, ...]


def numbers_of(option: str, text: str, kind: type) -> tuple[Any, ...]:
    """The numbers of "1e-5,3e-5". Raises BadInput for what is no such list."""
    try:
        values = tuple(kind(part) for part in text.split(",")) if text else ()
    except ValueError:
        values = (0,)
    if not all(math.isfinite(value) and value > 0 for value in values):
        words = "whole numbers" if kind is int else "numbers"
        raise BadInput(f"{option}: expected {words} above zero between commas, found {text!r}")
    return values


def arms(job: Job, rates: tuple[float, ...] = (), steps: tuple[int, ...] = ()) -> tuple[Job, ...]:
    """The job at every rate and number of steps, the cheapest and gentlest first; by default around its own.

    Raises BadInput for more than there is reason to try.
    """
    own = job.student
    rates = rates or tuple(float(f"{own.learning_rate * times:.3g}") for times in (0.3, 1, 3))
    steps = steps or tuple({max(1, own.steps // 2), own.steps})
    grid = [(number, rate) for number in sorted(set(steps)) for rate in sorted(set(rates))]
    if len(grid) > MOST:
        raise BadInput(f"expected at most {MOST} pairs of rate and steps, found {len(grid)}: name fewer")
    suite = job.evaluation.suite
    pilot = {name: min(most, getattr(suite, name) or most) for name, most in PILOT.items()}
    evaluation = job.evaluation.model_copy(update={"suite": suite.model_copy(update=pilot)})
    common = {"evaluation": evaluation, "judge": JudgeSettings()}
    return tuple(
        job.model_copy(
            update=common | {"student": own.model_copy(update={"learning_rate": rate, "steps": number, "keep": ()})}
        )
        for number, rate in grid
    )


def pipeline(arms: tuple[Job, ...], inputs: Inputs, run: Runner) -> Tuned:
    """One corpus, dictionary, reinforced model and set of labels; a student and its evaluation an arm."""
    target = make_target(arms[0], inputs, run)
    before = evaluate(arms[0], inputs, target, references(inputs), run)
    lessons = make_labels(arms[0], inputs, target, run)
    evaluations = []
    for arm in arms:
        trained = train_student(arm, inputs, target, lessons, run)
        evaluations.append(tuple(evaluate(arm, inputs, target, trained.models_as("student"), run)))
    return Tuned(arms, tuple(evaluations), tuple(before))


@flow(name="tune", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def tune(
    job: Job, rates: tuple[float, ...] = (), steps: tuple[int, ...] = (), root: str = ROOT, wait: float | None = None
) -> Tuned:
    """Try a grid of learning rates and steps. Run it again after a failure: it goes on from what is finished.

    Raises NepentheError for what the user can put right.
    """
    workspace, jobs = open_workspace(root), arms(job, rates, steps)
    inputs = inputs_of(job, workspace)
    name = f"{job.name[: NAME_CHARACTERS - 5]}-tune"
    return planned_run(workspace, name, job.placement, wait, partial(pipeline, jobs, inputs))


def tuned_numbers(tuned: Tuned, workspace: Workspace) -> dict[str, Any]:
    """{"arms": [{learning_rate, steps, measures, held}], "held", "reasons", "student": the suggested settings}."""
    stop = tuned.arms[0].stop
    rule, rows = stop if stop.given else USUAL, evaluation_rows(*map(workspace.path, tuned.references))
    baseline = _measures(row for row in rows if row["model"] == "baseline")
    for number, evaluations in enumerate(tuned.evaluations):
        # An arm is what a step is to a choice.
        rows += [row | {"step": number} for row in evaluation_rows(*map(workspace.path, evaluations))]
    chosen = choose(rows, rule)
    outcomes = [
        {
            "learning_rate": arm.student.learning_rate,
            "steps": arm.student.steps,
            "measures": _measures(row for row in rows if row["step"] == number),
            "held": all(condition.held for condition in conditions(rows, number, rule)),
        }
        for number, arm in enumerate(tuned.arms)
    ]
    best = tuned.arms[chosen.step].student
    return {
        "baseline": baseline,
        "arms": outcomes,
        "rule": rule.model_dump(exclude_none=True, exclude={"early"}),
        "held": chosen.held,
        "reasons": [condition.sentence for condition in conditions(rows, chosen.step, rule)],
        "student": {"learning_rate": best.learning_rate, "steps": best.steps, "keep": []},
    }


def _measures(rows: Any) -> dict[str, float]:
    return {row["task"] or row["metric"]: row["value"] for row in rows}
