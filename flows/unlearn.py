"""From a corpus and a model to a model that has forgotten, with the evidence.

corpus -> dictionary -> blocks ----------> logits -> labels -> student -> evaluation -> report
   \\                                       /                      (checkpoints by step)
    `-> reinforced model -----------------'

Every stage of the drawing is named here, in its order; audit and ablation take the same pieces. A `Run` makes each
artifact, a `Plan` only names it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.inputs import Inputs, inputs_of
from flows.job import Job
from flows.review import decisions_for
from storage.artifact import Artifact
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.answers import answers
from tasks.audit.common import Target as AuditTarget
from tasks.blocks import blocks
from tasks.choice import choice, chosen_step, enough
from tasks.contents import LAST, step_folder
from tasks.corpus import corpus
from tasks.dictionary import dictionary
from tasks.elicit import elicit, with_elicited
from tasks.engine.runner import Plan, Runner, planned_run
from tasks.evaluation import evaluation
from tasks.judgement import JudgeSettings, judgement
from tasks.labels import labels
from tasks.llm.store import prompt_hash
from tasks.logits import logits
from tasks.measure.rubric import rubric_hash
from tasks.models import Model, made_model
from tasks.reinforce import reinforce
from tasks.report.stage import audits_of_earlier, latest_audit_and_ablation, markdown_summary, report
from tasks.retained import retained
from tasks.retained_labels import retained_labels
from tasks.review import review
from tasks.student import student

ROOT = "nepenthe-workspace"


class Target(NamedTuple):
    """What is to be forgotten."""

    corpus: Artifact
    dictionary: Artifact


class Lessons(NamedTuple):
    """What a student learns from."""

    blocks: Artifact
    logits: Artifact
    labels: Artifact


class EvaluatedModel(NamedTuple):
    """A model and its place in the tables."""

    role: str
    step: int | None
    model: Model


class Trained(NamedTuple):
    """A student, its model at every kept step, and the evaluations so far."""

    student: Artifact
    models: dict[int, Model]
    evaluations: list[Artifact]

    def models_as(self, role: str) -> list[EvaluatedModel]:
        """The models to evaluate, under the name of a role."""
        return [EvaluatedModel(role, step, model) for step, model in self.models.items()]


@dataclass(frozen=True)
class Outcome:
    """What a job leaves behind."""

    model: str
    """Directory of the model that has forgotten."""
    step: int
    """Its unlearning step."""
    evaluations: tuple[Artifact, ...]
    report: Artifact


def pipeline(job: Job, inputs: Inputs, run: Runner) -> Outcome:
    """The drawing above."""
    target = make_target(job, inputs, run)
    # The models that are there already come first: evidence that cannot be measured is found before any training.
    before = evaluate(job, inputs, target, references(inputs), run)
    lessons = make_labels(job, inputs, target, run)
    trained = train_and_evaluate(job, inputs, target, lessons, before, run)
    chosen = run(choice, trained.evaluations, job.stop)
    step = chosen_step(run.workspace, chosen, job.student.steps)
    further = latest_audit_and_ablation(run.workspace, trained.student, step)
    further |= judge_earlier(job, inputs, trained, step, run)
    page = run(report, *target, *lessons, trained.student, trained.evaluations, chosen, **further)
    return Outcome(trained.models[step].path, step, tuple(trained.evaluations), page)


def judge_earlier(job: Job, inputs: Inputs, trained: Trained, step: int, run: Runner) -> dict[str, Any]:
    """The chosen model by the text of every earlier request, as an input of the report; nothing without any."""
    if not inputs.original:
        return {}
    original, chosen = inputs.original, trained.models[step]
    files: dict[str, Any] = {"prompts": None, "heldout": None, "kinds": {}, "benchmarks": None, "tasks": ()}
    inputs, own = inputs.model_copy(update={"evidence": inputs.evidence.model_copy(update=files)}), JudgeSettings()
    models = [EvaluatedModel("baseline", None, original), EvaluatedModel("student", step, chosen)]
    judged = []
    for request in audits_of_earlier(run.workspace, trained.student, step, inputs.earlier):
        target = Target(request.corpus, request.dictionary)
        evaluations = evaluate(job.model_copy(update={"judge": own}), inputs, target, models, run)
        judged.append(request.model_copy(update={"evaluations": tuple(evaluations)}))
    return {"earlier": judged}


def make_target(job: Job, inputs: Inputs, run: Runner) -> Target:
    """Corpus and dictionary, the latter reviewed where the job wants that."""
    texts = make_corpus(job, inputs, run)
    draft = draft_dictionary(job, inputs, texts, run)
    if not job.dictionary.review:
        return Target(texts, draft)
    return Target(texts, run(review, texts, draft, decisions_for(draft, run), inputs.dictionary))


def asked_about(job: Job, inputs: Inputs, run: Runner) -> AuditTarget:
    """What the attacks ask about: the job's own text."""
    corpus, dictionary = make_target(job, inputs, run)
    prompts, suite = inputs.evidence.prompts, job.evaluation.suite
    return AuditTarget(corpus=corpus, dictionary=dictionary, prompts=prompts, suite=suite)


def make_corpus(job: Job, inputs: Inputs, run: Runner) -> Artifact:
    """The user's files, and what the model itself says about a subject, where the job names one."""
    files, column = inputs.corpus, job.corpus.text_column
    if job.corpus.elicit.subject:
        asked = run(elicit, inputs.baseline, job.corpus.elicit, column)
        files = with_elicited(run.workspace, asked, files)
    return run(corpus, files, column)


def draft_dictionary(job: Job, inputs: Inputs, texts: Artifact, run: Runner) -> Artifact:
    """Curated files, word statistics and the answers of a language model, as one dictionary."""
    settings = job.dictionary
    asked = run(answers, texts, settings.llm, prompt_hash(), settings.endpoint) if settings.asks else None
    return run(dictionary, texts, inputs.dictionary, asked)


def make_labels(job: Job, inputs: Inputs, target: Target, run: Runner) -> Lessons:
    """From the target to its generic labels."""
    translated = run(blocks, *target, inputs.baseline.tokenizer, job.blocks)
    reinforced = reinforced_model(job, inputs, target, run)
    curves = run(logits, translated, inputs.baseline, reinforced, job.logits.on(job.placement))
    return Lessons(translated, curves, run(labels, translated, curves, job.labels))


def reinforced_model(job: Job, inputs: Inputs, target: Target, run: Runner) -> Model:
    """The baseline trained further on the target, the user's or ours."""
    if inputs.reinforced:
        return inputs.reinforced
    artifact = run(reinforce, target.corpus, inputs.baseline, job.reinforce)
    return made_model(run.workspace, artifact, LAST, inputs.baseline.tokenizer)


def train_and_evaluate(
    job: Job, inputs: Inputs, target: Target, lessons: Lessons, before: list[Artifact], run: Runner
) -> Trained:
    """The student to its last step, or from kept step to kept step until the stop rule holds, and its evaluations."""
    if not (job.stop.given and job.stop.early):
        trained = train_student(job, inputs, target, lessons, run)
        return trained._replace(evaluations=before + evaluate(job, inputs, target, trained.models_as("student"), run))
    beside, paused = beside_labels(job, inputs, target, run), None
    models, evaluations = dict[int, Model](), list(before)
    for step in job.student.kept:
        paused = run(student, lessons.labels, inputs.baseline, job.student, step, paused, **beside)
        models[step] = made_model(run.workspace, paused, step_folder(step), inputs.baseline.tokenizer)
        evaluations += evaluate(job, inputs, target, [EvaluatedModel("student", step, models[step])], run)
        if enough(run.workspace, evaluations, step, job.stop):
            break
    assert paused  # there is always a last step
    return Trained(paused, models, evaluations)


def train_student(job: Job, inputs: Inputs, target: Target, lessons: Lessons, run: Runner) -> Trained:
    """The student of every kept step in one training, not evaluated yet."""
    beside, tokenizer = beside_labels(job, inputs, target, run), inputs.baseline.tokenizer
    trained = run(student, lessons.labels, inputs.baseline, job.student, **beside)
    models = {step: made_model(run.workspace, trained, step_folder(step), tokenizer) for step in job.student.kept}
    return Trained(trained, models, [])


def beside_labels(job: Job, inputs: Inputs, target: Target, run: Runner) -> dict[str, Any]:
    """What a student learns from besides its labels, where the job wants that: text to retain, the reinforced model."""
    beside: dict[str, Any] = {}
    if inputs.retain:
        settings = job.retain.text_column, inputs.baseline.tokenizer, job.blocks.length
        beside["retained"] = run(retained, inputs.retain, *settings)
        if job.retain.labels == "baseline":
            precision = job.placement.precision(job.logits.precision)
            beside["retained"] = run(retained_labels, beside["retained"], inputs.baseline, precision, job.logits.top)
    if inputs.earlier:
        beside["earlier"] = [request.labels for request in inputs.earlier]
    if job.student.hardening:
        beside["reinforced"] = reinforced_model(job, inputs, target, run)
    return beside


def references(inputs: Inputs) -> list[EvaluatedModel]:
    """The models that students are compared with."""
    known = {"baseline": inputs.baseline, "gold": inputs.gold}
    return [EvaluatedModel(role, None, model) for role, model in known.items() if model]


def evaluate(job: Job, inputs: Inputs, target: Target, models: list[EvaluatedModel], run: Runner) -> list[Artifact]:
    """The same evidence of every model, with a language model's judgement of it where the job names a judge."""
    suite, judge = job.evaluation.suite, job.judge
    calls = [(model, role, step, *target, inputs.evidence, suite) for role, step, model in models]
    evaluations = run.map(evaluation, calls)
    if not judge.model:
        return evaluations
    return evaluations + run.map(judgement, [(artifact, judge, rubric_hash()) for artifact in evaluations])


@flow(name="unlearn", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def unlearn(job: Job, root: str = ROOT, wait: float | None = None) -> Outcome:
    """Make a model forget. Run it again after a failure: it goes on from what is finished.

    `wait`: seconds to wait for what another run is making, by default as long as it takes. Raises NepentheError for
    what the user can put right.
    """
    workspace = open_workspace(root)
    inputs = inputs_of(job, workspace)
    outcome = planned_run(workspace, job.name, job.placement, wait, partial(pipeline, job, inputs))
    table = markdown_summary(workspace.path(outcome.report))
    create_markdown_artifact(table, key="unlearning", description="Results by step")  # in the Prefect UI
    return outcome


def plan(job: Job, inputs: Inputs, workspace: Workspace) -> Plan:
    """Every artifact of the job, cached or not, without making one."""
    planned = Plan(workspace, job.name)
    pipeline(job, inputs, planned)
    return planned


def unlearned(job: Job, inputs: Inputs, workspace: Workspace) -> str:
    """Directory of the model that the job leaves behind, or will."""
    return pipeline(job, inputs, Plan(workspace, job.name)).model


def report_with(job: Job, inputs: Inputs, run: Runner, **further: Artifact) -> Artifact | None:
    """The job's report again, with an audit or an ablation in it; None where the job was not run to its end."""
    planned = plan(job, inputs, run.workspace)
    page = next(step for step in planned.steps if step.stage is report)
    if not all(step.cached for step in planned.steps if step is not page):
        return None
    return run(report, **page.inputs | further)
