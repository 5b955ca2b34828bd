"""The attacks on a model that claims to have forgotten, one after the other, with baseline and gold as references."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow

from flows.anchors import words_for
from flows.job import Given, Job, look
from flows.query import page_of, show_rows
from flows.unlearn import ROOT, report_with
from flows.unlearn import path as job_path
from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.workspace import Workspace
from tasks.audit import (
    Suspect,
    Target,
    extraction,
    instruction,
    membership,
    quantisation,
    questions,
    relearning,
    side_effects,
    translations,
    verbatim,
)
from tasks.audit_settings import Controls, Texts, find_controls
from tasks.corpus import corpus
from tasks.findings import EVIDENCE, PAGE
from tasks.findings import audit as summary
from tasks.models import find_model, made_model, same_vocabulary
from tasks.run import running
from tasks.stage import Plan, Runner, Stage
from tasks.student import part_of


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
    report: Artifact | None
    """The job's report with the audit in it; None where the model is not the one that the job left behind."""


def path(job: Job, given: Given, controls: Controls, suspects: list[Suspect], run: Runner) -> Audit:
    """All attacks, the audit's page, and the job's report again where the audited model is its own."""
    made, audited = attacks(job, given, controls, suspects, run), suspects[0].model
    summed = run(summary, audited, made, controls.missing())
    left = job_path(job, given, Plan(run.workspace, job.name))
    report = report_with(job, given, run, audit=summed) if left.model == audited.path else None
    return Audit(audited.path, tuple(made), controls.missing(), summed, report)


def attacks(job: Job, given: Given, controls: Controls, suspects: list[Suspect], run: Runner) -> list[Artifact]:
    """The list of attacks. `run` makes artifacts, or only names them."""
    made: list[Artifact] = []

    def attack(stage: Stage, *calls: tuple[Any, ...], on: list[Suspect] = suspects) -> None:
        made.extend(run.together(stage, [(suspect, *call) for call in calls for suspect in on]))

    documents = run(corpus, given.corpus, job.corpus.text_column)
    words = words_for(job, given, documents, run)
    target = Target(corpus=documents, dictionary=words, prompts=given.evidence.prompts, suite=job.evaluation.suite)
    settings, near = job.audit, controls.neighbours

    attack(verbatim, (documents, near, settings.passages))
    attack(extraction, (documents, near, settings.passages))
    attack(questions, (documents, words, settings.questions))
    if controls.nonmembers:
        attack(membership, (documents, controls.nonmembers, settings.passages, settings.min_k))
    lessons = {"target": None, "related": near, "unrelated": controls.heldout}
    taught = [(source, texts) for source, texts in lessons.items() if texts or source == "target"]
    attack(relearning, *((target, source, texts, settings.relearning) for source, texts in taught))
    attack(quantisation, (target, controls.heldout, settings.quantisation))
    if near:
        attack(side_effects, (near,))
    attack(instruction, (target, settings.instruction), on=[one for one in suspects if one.role == "baseline"])
    attack(translations, (target,))
    return made


@flow(name="audit", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def audit(job: Job, model: str = "", root: str = ROOT, wait: float | None = None) -> Audit:
    """Attack a model directory, by default the job's last student. Run it again after a failure: it goes on.

    Raises NepentheError for what the user can put right.
    """
    workspace = Workspace(root)
    given, controls, suspects = look_at(job, model, workspace)
    names = Plan(workspace, job.name)
    path(job, given, controls, suspects, names)
    with running(names, job.placement, wait) as run:
        return path(job, given, controls, suspects, run)


def look_at(job: Job, model: str, workspace: Workspace) -> tuple[Given, Controls, list[Suspect]]:
    """Find all that an audit needs, the audited model first. Raises BadInput for what could not be run with."""
    given = look(job, workspace.hashes)
    generic, column = given.evidence.heldout, given.evidence.text_column
    controls = find_controls(job.audit, Texts(files=generic, column=column) if generic else None, workspace.hashes)
    references = [Suspect(model=given.baseline, role="baseline")]
    references += [Suspect(model=given.gold, role="gold")] if given.gold else []
    audited = _suspect_at(Path(model), workspace) if model else _student_of(job, given, workspace)
    same_vocabulary(given.baseline, audited.model)
    others = [one for one in references if one.model.fingerprint != audited.model.fingerprint]
    known = [one for one in references if one not in others]
    return given, controls, [*(known or [audited]), *others]


def _student_of(job: Job, given: Given, workspace: Workspace) -> Suspect:
    """The model that the job leaves behind."""
    left = Path(job_path(job, given, Plan(workspace, job.name)).model)
    if not left.is_dir():
        raise MissingArtifact(
            f"expected the job's unlearned model in {workspace.root}, found none: "
            "run the job first (nepenthe unlearn JOB.toml), or name a model directory"
        )
    return _suspect_at(left, workspace)


def _suspect_at(folder: Path, workspace: Workspace) -> Suspect:
    """The model in a directory. One that a job made is known by its artifact, wherever it is named from."""
    model, place = find_model(folder, workspace.hashes), folder.absolute()
    student = workspace.artifact_at(place)
    if student is None or student.kind != "student" or place.parent.name != "steps":
        return Suspect(model=model, role="audited")
    step = int(place.name)
    return Suspect(model=made_model(workspace, student, part_of(step), model.tokenizer), role="student", step=step)


def show_audit(made: Audit, workspace: Workspace, as_json: bool) -> None:
    """The audit's table and verdicts, and where its pages lie."""
    folder = workspace.path(made.audit)
    found: dict[str, Any] = json.loads((folder / EVIDENCE).read_text(encoding="utf-8"))
    found |= {"model": made.model, "page": str(folder / PAGE), "report": page_of(made.report, workspace)}
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else audit_table(found))


def audit_table(found: dict[str, Any]) -> str:
    """A summary for a person: a row a measure, then a sentence an attack."""
    models = [key for key in ("baseline", "model", "gold") if any(model["key"] == key for model in found["models"])]
    rows: list[tuple[Any, ...]] = [
        (measure["attack"], measure["metric"], measure["task"], *(_cell(measure, model) for model in models))
        for measure in found["measures"]
    ]
    table = show_rows(["attack", "measure", "", *("audited" if key == "model" else key for key in models)], rows)
    said = "\n".join(f"{verdict['attack']}: {verdict['sentence']}" for verdict in found["verdicts"])
    places = [f"{name:<7} {found[name]}" for name in ("model", "page", "report") if found[name]]
    return "\n".join(["", table, "", said, "", found["headline"], "", *places])


def _cell(measure: dict[str, Any], model: str) -> str:
    value = measure["values"].get(model)
    return f"{value['value']:.4f}" if value else ""


def demo_job(workspace: Workspace) -> Job:
    """The job of the last demo that was run in this workspace. Raises BadInput where there is none."""
    from flows.demo import job_for
    from tasks.demo import MODEL

    worlds = [artifact for artifact in workspace.all() if artifact.kind == "world"]
    models = {}
    for artifact, record in workspace.records():
        inputs = record["inputs"]
        if artifact.kind == "pretrain" and worlds and inputs["world"] == worlds[-1].fingerprint:
            models[inputs["role"]] = workspace.path(artifact) / MODEL
    if not {"baseline", "gold"} <= models.keys():
        raise BadInput(
            f"expected --job JOB.toml, or a workspace in which the demo was run, found neither in {workspace.root}"
        )
    return job_for(workspace.path(worlds[-1]), models["baseline"], models["gold"])
