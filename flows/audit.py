"""The attacks on a model that claims to have forgotten, one after the other, with baseline and gold as references."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect import flow

from flows.inputs import Inputs, fits, inputs_of
from flows.job import Job
from flows.unlearn import ROOT, asked_about, report_with, unlearned
from storage.artifact import Artifact
from storage.errors import MissingArtifact
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.audit import ATTACKS, not_made
from tasks.audit.common import AuditedModel, AuditTexts, Target
from tasks.audit.passages import WHOLE_WORD
from tasks.audit.settings import find_audit_texts
from tasks.audit.summary import audit as summary
from tasks.contents import step_folder
from tasks.engine.runner import Runner, planned_run
from tasks.models import find_model, made_model, same_vocabulary, served_in
from tasks.texts import Texts


@dataclass(frozen=True)
class Audit:
    """What an audit leaves behind."""

    model: str
    """Directory of the audited model."""
    artifacts: tuple[Artifact, ...]
    """One an attack and model, in the order of the attacks."""
    missing: dict[str, str]
    """Attacks that could not be made, with the reason."""
    audit: Artifact
    """Numbers, verdicts and page."""
    earlier: dict[str, Artifact]
    """The same by the texts of the requests before, by their jobs."""
    report: Artifact | None
    """The job's report with the audit in it; None where the model is not the one that the job left behind."""


def pipeline(job: Job, inputs: Inputs, texts: AuditTexts, models: list[AuditedModel], run: Runner) -> Audit:
    """All attacks by every request so far, the audits' pages, and the report where the audited model is the job's."""
    artifacts, audited = attacks_on(asked_about(job, inputs, run), job, texts, models, run), models[0].model
    summed = run(summary, audited, artifacts, not_made(texts))
    earlier, before = dict[str, Artifact](), [AuditedModel(model=inputs.original or inputs.baseline, role="baseline")]
    about_texts = texts.model_copy(update={"forms": None})  # its questions are about the job's own text
    for request in inputs.earlier:
        target = Target(corpus=request.corpus, dictionary=request.dictionary, prompts=None, suite=job.evaluation.suite)
        attacked = attacks_on(target, job, about_texts, [models[0], *before], run)
        earlier[request.job] = run(summary, audited, attacked, not_made(texts), request=request.job)
    left = unlearned(job, inputs, run.workspace)
    report = report_with(job, inputs, run, audit=summed) if left == audited.path else None
    return Audit(audited.path, tuple(artifacts), not_made(texts), summed, earlier, report)


def attacks_on(target: Target, job: Job, texts: AuditTexts, models: list[AuditedModel], run: Runner) -> list[Artifact]:
    """All attacks that ask about this target, one after the other. `run` makes artifacts, or only names them."""
    artifacts = list[Artifact]()
    for attack in ATTACKS.values():
        on = [model for model in models if attack.only in ("", model.role)]
        beside = [model for model in models if model.role == attack.beside]
        calls = attack.calls(target, texts, job.audit)
        artifacts += run.map(attack.stage, [(model, *beside, *call) for call in calls for model in on])
    return artifacts


@flow(name="audit", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def audit(job: Job, model: str = "", root: str = ROOT, wait: float | None = None) -> Audit:
    """Attack a model directory, by default the job's last student. Run it again after a failure: it goes on.

    Raises NepentheError for what the user can put right.
    """
    workspace = open_workspace(root)
    inputs, texts, models = resolve_audit(job, model, workspace)
    return planned_run(workspace, job.name, job.placement, wait, partial(pipeline, job, inputs, texts, models))


def resolve_audit(job: Job, model: str, workspace: Workspace) -> tuple[Inputs, AuditTexts, list[AuditedModel]]:
    """Find all that an audit needs, the audited model first. Raises BadInput for what could not be run with."""
    inputs = inputs_of(job, workspace)
    fits("audit.passages.tokens", job.audit.passages.tokens, inputs.baseline, WHOLE_WORD)
    generic, column = inputs.evidence.heldout, inputs.evidence.text_column
    texts = find_audit_texts(job.audit, Texts(files=generic, column=column) if generic else None, workspace.hashes)
    references = [AuditedModel(model=inputs.baseline, role="baseline")]
    references += [AuditedModel(model=inputs.gold, role="gold")] if inputs.gold else []
    audited = _model_at(Path(model), workspace) if model else _student_of(job, inputs, workspace)
    same_vocabulary(inputs.baseline, audited.model)
    others = [model for model in references if model.model.fingerprint != audited.model.fingerprint]
    known = [model for model in references if model not in others]
    return inputs, texts, [*(known or [audited]), *others]


def _student_of(job: Job, inputs: Inputs, workspace: Workspace) -> AuditedModel:
    """The model that the job leaves behind."""
    left = Path(unlearned(job, inputs, workspace))
    if not left.is_dir():
        raise MissingArtifact(
            f"expected the job's unlearned model in {workspace.root}, found none: "
            "run the job first (nepenthe unlearn JOB.toml), or name a model directory"
        )
    return _model_at(left, workspace)


def _model_at(folder: Path, workspace: Workspace) -> AuditedModel:
    """The model in a directory, in the precision that it is served in. One that a job made is known by its artifact,
    wherever it is named from."""
    model, place = find_model(folder, workspace.hashes), folder.absolute()
    student = workspace.artifact_at(place)
    if student is None or student.kind != "student" or place.parent.name != "steps":
        return AuditedModel(model=model, role="audited", precision=served_in(folder))
    student_model = made_model(workspace, student, step_folder(int(place.name)), model.tokenizer)
    return AuditedModel(model=student_model, role="student", step=int(place.name))
