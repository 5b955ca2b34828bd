"""The order of things: from a corpus and a model to a model that has forgotten, with the evidence.

corpus -> dictionary -> blocks ----------> logits -> labels -> student -> evaluation -> report
   \\                                       /                      (checkpoints by step)
    `-> reinforced model -----------------'
"""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.anchors import make_dictionary
from flows.job import Inputs, Job, resolve
from flows.teaching import evaluated, references, teach_until_enough, train_student
from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.choice import choice
from tasks.contents import chosen_step
from tasks.corpus import corpus
from tasks.engine.runner import running
from tasks.engine.stage import Plan, Runner
from tasks.report import latest_audit_and_ablation, markdown_summary, report

ROOT = "nepenthe-workspace"


@dataclass(frozen=True)
class Outcome:
    """What a job leaves behind."""

    model: str
    """Directory of the model that has forgotten."""
    step: int
    """Its unlearning step."""
    evaluations: tuple[Artifact, ...]
    report: Artifact


def path(job: Job, inputs: Inputs, run: Runner) -> Outcome:
    """The drawing above. `run` makes artifacts, or only names them for a plan."""
    documents = run(corpus, inputs.corpus, job.corpus.text_column)
    words = make_dictionary(job, inputs, documents, run)
    # The models that are there already come first: evidence that cannot be measured is found before any training.
    before = evaluated(job, inputs, (documents, words), references(inputs), run)

    if job.stop.given and job.stop.early:
        trained, evaluations = teach_until_enough(job, inputs, (documents, words), before, run)
    else:
        trained = train_student(job, inputs, (documents, words), run)
        evaluations = [*before, *evaluated(job, inputs, (documents, words), trained.students("student"), run)]
    chosen = run(choice, evaluations, job.stop)
    step = chosen_step(run.workspace, chosen, job.student.steps)
    further = latest_audit_and_ablation(run.workspace, trained.artifacts[-1], step)
    page = run(report, documents, words, *trained.artifacts, evaluations, chosen, **further)
    return Outcome(trained.models[step].path, step, tuple(evaluations), page)


@flow(name="unlearn", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def unlearn(job: Job, root: str = ROOT, wait: float | None = None) -> Outcome:
    """Make a model forget. Run it again after a failure: it goes on from what is finished.

    `wait`: seconds to wait for what another run is making, by default as long as it takes. Raises NepentheError for
    what the user can put right.
    """
    workspace = Workspace(root)
    inputs = resolve(job, workspace.hashes)
    with running(plan(job, inputs, workspace), job.placement, wait) as run:
        outcome = path(job, inputs, run)
        publish(workspace.path(outcome.report))
        return outcome


def report_with(job: Job, inputs: Inputs, run: Runner, **further: Artifact) -> Artifact | None:
    """The job's report again, with an audit or an ablation in it; None where the job was not run to its end."""
    names = Plan(run.workspace, job.name)
    path(job, inputs, names)
    planned = next(step for step in names.steps if step.stage is report)
    if not all(step.cached for step in names.steps if step is not planned):
        return None
    return run(report, **planned.inputs | further)


def publish(report_folder: Path) -> None:
    """The table by step in the Prefect UI."""
    create_markdown_artifact(markdown_summary(report_folder), key="unlearning", description="Results by step")


def plan(job: Job, inputs: Inputs, workspace: Workspace) -> Plan:
    """Every artifact of the job, cached or not, without making one."""
    names = Plan(workspace, job.name)
    path(job, inputs, names)
    return names
