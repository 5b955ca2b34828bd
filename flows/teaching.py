"""The middle of the path: from the target to the students, and the evidence of every model.

`unlearn` walks it once, `ablation` once for each half of the method.
"""

from dataclasses import dataclass
from typing import Any, cast

from flows.job import Inputs, Job
from storage.artifact import Artifact
from tasks.blocks import blocks
from tasks.choice import enough
from tasks.contents import LAST, step_folder
from tasks.engine.stage import Runner
from tasks.evaluation import evaluation
from tasks.judgement import judgement
from tasks.labels import labels
from tasks.logits import logits
from tasks.measure.rubric import rubric_hash
from tasks.models import Model, made_model
from tasks.reinforce import reinforce
from tasks.retained import retained
from tasks.student import student

EvaluatedModel = tuple[str, int | None, Model]
"""A model to evaluate: its role, its unlearning step, itself."""


@dataclass(frozen=True)
class Trained:
    """What becomes of a job between its dictionary and its evaluations."""

    artifacts: tuple[Artifact, ...]
    """Blocks, logits, labels, student."""
    models: dict[int, Model]
    """The student at every kept step."""

    def students(self, role: str) -> list[EvaluatedModel]:
        """The models to evaluate, under the name of a role."""
        return [(role, step, model) for step, model in self.models.items()]


def train_student(job: Job, inputs: Inputs, target: tuple[Artifact, Artifact], run: Runner) -> Trained:
    """From the target (corpus and dictionary) to the student."""
    *lessons, generic = make_labels(job, inputs, target, run)
    forgets = run(student, generic, inputs.baseline, job.student, **extra_inputs(job, inputs, target, run))
    models = {step: model_of(inputs, forgets, step_folder(step), run) for step in job.student.kept}
    return Trained((*lessons, generic, forgets), models)


def teach_until_enough(
    job: Job, inputs: Inputs, target: tuple[Artifact, Artifact], before: list[Artifact], run: Runner
) -> tuple[Trained, list[Artifact]]:
    """The same, from kept step to kept step, with an evaluation at each, until the stop rule holds."""
    *lessons, generic = make_labels(job, inputs, target, run)
    others, models = extra_inputs(job, inputs, target, run), dict[int, Model]()
    evaluations, forgets = list(before), None
    for step in job.student.kept:
        forgets = run(student, generic, inputs.baseline, job.student, step, forgets, **others)
        models[step] = model_of(inputs, forgets, step_folder(step), run)
        evaluations += evaluated(job, inputs, target, [("student", step, models[step])], run)
        if enough(run.workspace, evaluations, step, job.stop):
            break
    assert forgets  # there is always a last step
    return Trained((*lessons, generic, forgets), models), evaluations


def model_of(inputs: Inputs, made: Artifact, part: str, run: Runner) -> Model:
    """A model that the run makes from the baseline."""
    return made_model(run.workspace, made, part, inputs.baseline.tokenizer)


def make_labels(job: Job, inputs: Inputs, target: tuple[Artifact, Artifact], run: Runner) -> list[Artifact]:
    """From the target to its generic labels: blocks, logits, labels."""
    documents, words = target
    pieces = run(blocks, documents, words, inputs.baseline.tokenizer, job.blocks)
    curves = run(logits, pieces, inputs.baseline, reinforced_model(job, inputs, documents, run), job.logits)
    return [pieces, curves, run(labels, pieces, curves, job.labels)]


def reinforced_model(job: Job, inputs: Inputs, documents: Artifact, run: Runner) -> Model:
    """The reinforced model, the user's or ours."""
    if inputs.reinforced:
        return cast(Model, inputs.reinforced)
    return model_of(inputs, run(reinforce, documents, inputs.baseline, job.reinforce), LAST, run)


def extra_inputs(job: Job, inputs: Inputs, target: tuple[Artifact, Artifact], run: Runner) -> dict[str, Any]:
    """What a student learns from besides its labels, where the job wants that: text to retain, the reinforced model."""
    found: dict[str, Any] = {}
    if inputs.retain:
        read = job.retain.text_column, inputs.baseline.tokenizer, job.blocks.length
        found["retained"] = run(retained, inputs.retain, *read)
    if job.student.hardening:
        found["reinforced"] = reinforced_model(job, inputs, target[0], run)
    return found


def references(inputs: Inputs) -> list[EvaluatedModel]:
    """The models that students are compared with."""
    return [("baseline", None, inputs.baseline), *([("gold", None, inputs.gold)] if inputs.gold else [])]


def evaluated(
    job: Job, inputs: Inputs, target: tuple[Artifact, Artifact], models: list[EvaluatedModel], run: Runner
) -> list[Artifact]:
    """The same evidence of every model, with a language model's judgement of it where the job names a judge."""
    suite, judge = job.evaluation.suite, job.judge
    calls = [(model, role, step, *target, inputs.evidence, suite) for role, step, model in models]
    made = run.map(evaluation, calls)
    if not judge.model:
        return made
    return made + run.map(judgement, [(one, judge, rubric_hash()) for one in made])
