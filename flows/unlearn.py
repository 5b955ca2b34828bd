"""The order of things: from a corpus and a model to a model that has forgotten, with the evidence.

corpus -> dictionary -> blocks ----------> logits -> labels -> student -> evaluation -> report
   \\                                       /                      (checkpoints by step)
    `-> reinforced model -----------------'
"""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.anchors import words_for
from flows.job import Given, Job, look
from flows.teaching import evaluated, references, teach, teach_until_enough
from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.choice import choice
from tasks.contents import chosen_step
from tasks.corpus import corpus
from tasks.engine.runner import running
from tasks.engine.stage import Plan, Runner
from tasks.report import markdown_summary, report, tried

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


def path(job: Job, given: Given, run: Runner) -> Outcome:
    """The drawing above. `run` makes artifacts, or only names them for a plan."""
    documents = run(corpus, given.corpus, job.corpus.text_column)
    words = words_for(job, given, documents, run)
    # The models that are there already come first: evidence that cannot be measured is found before any training.
    before = evaluated(job, given, (documents, words), references(given), run)

    if job.stop.given and job.stop.early:
        taught, evaluations = teach_until_enough(job, given, (documents, words), before, run)
    else:
        taught = teach(job, given, (documents, words), run)
        evaluations = [*before, *evaluated(job, given, (documents, words), taught.students("student"), run)]
    chosen = run(choice, evaluations, job.stop)
    step = chosen_step(run.workspace, chosen, job.student.steps)
    further = tried(run.workspace, taught.artifacts[-1], step)
    page = run(report, documents, words, *taught.artifacts, evaluations, chosen, **further)
    return Outcome(taught.models[step].path, step, tuple(evaluations), page)


@flow(name="unlearn", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def unlearn(job: Job, root: str = ROOT, wait: float | None = None) -> Outcome:
    """Make a model forget. Run it again after a failure: it goes on from what is finished.

    `wait`: seconds to wait for what another run is making, by default as long as it takes. Raises NepentheError for
    what the user can put right.
    """
    workspace = Workspace(root)
    given = look(job, workspace.hashes)
    with running(plan(job, given, workspace), job.placement, wait) as run:
        outcome = path(job, given, run)
        publish(workspace.path(outcome.report))
        return outcome


def report_with(job: Job, given: Given, run: Runner, **further: Artifact) -> Artifact | None:
    """The job's report again, with an audit or an ablation in it; None where the job was not run to its end."""
    names = Plan(run.workspace, job.name)
    path(job, given, names)
    inputs = next(inputs for stage, _, inputs, _ in names.steps if stage is report)
    if not all(found for stage, _, _, found in names.steps if stage is not report):
        return None
    return run(report, **inputs | further)


def publish(report_folder: Path) -> None:
    """The table by step in the Prefect UI."""
    create_markdown_artifact(markdown_summary(report_folder), key="unlearning", description="Results by step")


def plan(job: Job, given: Given, workspace: Workspace) -> Plan:
    """Every artifact of the job, cached or not, without making one."""
    names = Plan(workspace, job.name)
    path(job, given, names)
    return names
