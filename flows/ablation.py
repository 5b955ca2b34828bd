"""Is each half of the method needed? Reinforcement alone, anchors alone and both, from one cache."""

from functools import partial
from typing import NamedTuple

from prefect import flow

from flows.inputs import Inputs, inputs_of
from flows.job import Job
from flows.unlearn import ROOT, evaluate, make_labels, make_target, references, report_with, train_student
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.opening import open_workspace
from tasks.ablation.arms import ANCHORS, BOTH, REINFORCEMENT, ROLES
from tasks.ablation.stage import ablation as compare
from tasks.engine.runner import Runner, planned_run


class Compared(NamedTuple):
    """What an ablation leaves behind."""

    ablation: Artifact
    report: Artifact | None
    """The job's report with the ablation in it; None where the job was not run to its end."""


def arms(job: Job) -> dict[str, Job]:
    """The job as it is, and without each half. Raises BadInput where the job itself lacks one."""
    if job.labels.alpha == 0 or not job.blocks.translate:
        raise BadInput(
            "expected a job with both halves of the method to take one away, found "
            + ("labels.alpha = 0" if job.labels.alpha == 0 else "blocks.translate = false")
        )
    untranslated = job.blocks.model_copy(update={"translate": False})
    without_alpha = job.labels.model_copy(update={"alpha": 0.0})
    return {
        BOTH: job,
        REINFORCEMENT: job.model_copy(update={"blocks": untranslated}),
        ANCHORS: job.model_copy(update={"labels": without_alpha}),
    }


def pipeline(job: Job, inputs: Inputs, run: Runner) -> Compared:
    """Three students from one corpus, dictionary and reinforced model, and the pages that compare them."""
    target = make_target(job, inputs, run)
    evaluations, labels = evaluate(job, inputs, target, references(inputs), run), {}
    for name, arm in arms(job).items():
        lessons = make_labels(arm, inputs, target, run)
        trained = train_student(arm, inputs, target, lessons, run)
        evaluations += evaluate(arm, inputs, target, trained.models_as(ROLES[name]), run)
        labels[name] = lessons.labels
    compared = run(compare, evaluations, labels[BOTH], job.student)
    return Compared(compared, report_with(job, inputs, run, ablation=compared))


@flow(name="ablation", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def ablation(job: Job, root: str = ROOT, wait: float | None = None) -> Compared:
    """Compare the halves of the method. What the job's own run has made is not made again.

    Raises NepentheError for what the user can put right.
    """
    workspace = open_workspace(root)
    inputs = inputs_of(job, workspace)
    return planned_run(workspace, job.name, job.placement, wait, partial(pipeline, job, inputs))
