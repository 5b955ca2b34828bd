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
from storage.artifact import Artifact
from storage.tables import refresh
from storage.workspace import Workspace
from tasks.blocks import blocks
from tasks.choice import choice, chosen_step, enough
from tasks.corpus import corpus
from tasks.evaluation import evaluation
from tasks.judgement import judgement
from tasks.labels import labels
from tasks.logits import logits
from tasks.measure.rubric import rubric_hash
from tasks.models import Model, made_model
from tasks.progress import Progress
from tasks.reinforce import LAST, reinforce
from tasks.report import markdown_summary, report
from tasks.stage import Plan, Run, Runner
from tasks.student import part_of, student

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
    page = run(report, documents, words, *taught.artifacts, evaluations, chosen)
    step = chosen_step(run.workspace, chosen, job.student.steps)
    return Outcome(taught.models[step].path, step, tuple(evaluations), page)


Named = tuple[str, int | None, Model]
"""A model to evaluate: its role, its unlearning step, itself."""


@dataclass(frozen=True)
class Taught:
    """What becomes of a job between its dictionary and its evaluations."""

    artifacts: tuple[Artifact, ...]
    """Blocks, logits, labels, student."""
    models: dict[int, Model]
    """The student at every kept step."""

    def students(self, role: str) -> list[Named]:
        """The models to evaluate, under the name of a role."""
        return [(role, step, model) for step, model in self.models.items()]


def teach(job: Job, given: Given, target: tuple[Artifact, Artifact], run: Runner) -> Taught:
    """From the target (corpus and dictionary) to the student."""
    *lessons, generic = lessons_of(job, given, target, run)
    forgets = run(student, generic, given.baseline, job.student)
    models = {step: model_of(given, forgets, part_of(step), run) for step in job.student.kept}
    return Taught((*lessons, generic, forgets), models)


def teach_until_enough(
    job: Job, given: Given, target: tuple[Artifact, Artifact], before: list[Artifact], run: Runner
) -> tuple[Taught, list[Artifact]]:
    """The same, from kept step to kept step, with an evaluation at each, until the stop rule holds."""
    *lessons, generic = lessons_of(job, given, target, run)
    models: dict[int, Model] = {}
    evaluations, forgets = list(before), None
    for step in job.student.kept:
        forgets = run(student, generic, given.baseline, job.student, step, forgets)
        models[step] = model_of(given, forgets, part_of(step), run)
        evaluations += evaluated(job, given, target, [("student", step, models[step])], run)
        if enough(run.workspace, evaluations, step, job.stop):
            break
    assert forgets  # there is always a last step
    return Taught((*lessons, generic, forgets), models), evaluations


def model_of(given: Given, made: Artifact, part: str, run: Runner) -> Model:
    """A model that the run makes from the baseline."""
    return made_model(run.workspace, made, part, given.baseline.tokenizer)


def lessons_of(job: Job, given: Given, target: tuple[Artifact, Artifact], run: Runner) -> list[Artifact]:
    """From the target to its generic labels: blocks, logits, labels."""
    documents, words = target
    pieces = run(blocks, documents, words, given.baseline.tokenizer, job.blocks)
    knows_more = given.reinforced
    if not knows_more:
        knows_more = model_of(given, run(reinforce, documents, given.baseline, job.reinforce), LAST, run)
    curves = run(logits, pieces, given.baseline, knows_more, job.logits)
    return [pieces, curves, run(labels, pieces, curves, job.labels)]


def references(given: Given) -> list[Named]:
    """The models that students are compared with."""
    return [("baseline", None, given.baseline), *([("gold", None, given.gold)] if given.gold else [])]


def evaluated(
    job: Job, given: Given, target: tuple[Artifact, Artifact], models: list[Named], run: Runner
) -> list[Artifact]:
    """The same evidence of every model, with a language model's judgement of it where the job names a judge."""
    suite, judge = job.evaluation.suite, job.judge
    calls = [(model, role, step, *target, given.evidence, suite) for role, step, model in models]
    made = run.together(evaluation, calls)
    if not judge.model:
        return made
    return made + run.together(judgement, [(one, judge, rubric_hash()) for one in made])


@flow(name="unlearn", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def unlearn(job: Job, root: str = ROOT, wait: float = 0) -> Outcome:
    """Make a model forget. Run it again after a failure: it goes on from what is finished.

    `wait`: seconds to wait for another writer of the workspace. Raises NepentheError for what the user can put right.
    """
    from prefect.runtime import flow_run

    workspace = Workspace(root)
    given = look(job, workspace.hashes)
    with workspace.writing(wait):
        refresh(workspace)
        progress = Progress(len(plan(job, given, workspace).steps))
        outcome = path(job, given, Run(workspace, job.name, job.placement, progress, flow_run.name or ""))
        publish(workspace.path(outcome.report))
        return outcome


def publish(report_folder: Path) -> None:
    """The table by step in the Prefect UI."""
    create_markdown_artifact(markdown_summary(report_folder), key="unlearning", description="Results by step")


def plan(job: Job, given: Given, workspace: Workspace) -> Plan:
    """Every artifact of the job, cached or not, without making one."""
    names = Plan(workspace, job.name)
    path(job, given, names)
    return names
