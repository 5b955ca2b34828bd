"""Is each half of the method needed? Reinforcement alone, anchors alone and both, from one cache."""

import json
from typing import Any, NamedTuple

from prefect import flow

from flows.anchors import make_dictionary
from flows.job import Inputs, Job, resolve
from flows.query import page_of, show_rows
from flows.teaching import evaluated, references, train_student
from flows.unlearn import ROOT, report_with
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.workspace import Workspace
from tasks.ablation import ANCHORS, BOTH, REINFORCEMENT, ROLES
from tasks.ablation import ablation as compare
from tasks.contents import ABLATION_EVIDENCE, ABLATION_PAGE
from tasks.corpus import corpus
from tasks.engine.runner import running
from tasks.engine.stage import Plan, Runner


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


def path(job: Job, inputs: Inputs, run: Runner) -> Compared:
    """Three students from one corpus, dictionary and reinforced model, and the pages that compare them."""
    documents = run(corpus, inputs.corpus, job.corpus.text_column)
    target = documents, make_dictionary(job, inputs, documents, run)
    evaluations = evaluated(job, inputs, target, references(inputs), run)
    labels_of = {}
    for name, arm in arms(job).items():
        trained = train_student(arm, inputs, target, run)
        evaluations += evaluated(arm, inputs, target, trained.students(ROLES[name]), run)
        _, _, labels_of[name], _ = trained.artifacts
    made = run(compare, evaluations, labels_of[BOTH], job.student)
    return Compared(made, report_with(job, inputs, run, ablation=made))


@flow(name="ablation", flow_run_name="{job.name}", persist_result=False, validate_parameters=True)
def ablation(job: Job, root: str = ROOT, wait: float | None = None) -> Compared:
    """Compare the halves of the method. What the job's own run has made is not made again.

    Raises NepentheError for what the user can put right.
    """
    workspace = Workspace(root)
    inputs = resolve(job, workspace.hashes)
    names = Plan(workspace, job.name)
    path(job, inputs, names)
    with running(names, job.placement, wait) as run:
        return path(job, inputs, run)


def ablation_found(made: Compared, workspace: Workspace) -> dict[str, Any]:
    """All numbers of a finished ablation, and where its pages lie."""
    folder = workspace.path(made.ablation)
    found: dict[str, Any] = json.loads((folder / ABLATION_EVIDENCE).read_text(encoding="utf-8"))
    return found | {"page": str(folder / ABLATION_PAGE), "report": page_of(made.report, workspace)}


def ablation_table(found: dict[str, Any]) -> str:
    """The values at the last step for a person, with the verdict."""
    last, columns = str(found["steps"][-1]), (REINFORCEMENT, ANCHORS, BOTH)
    rows: list[tuple[Any, ...]] = []
    for measure in found["measures"]:
        values = [measure["baseline"], *(measure["arms"][arm].get(last) for arm in columns), measure["gold"]]
        rows.append((measure["name"], *(f"{value['value']:.4f}" if value else "" for value in values)))
    table = show_rows([f"after {last} steps", "baseline", *columns, "gold"], rows)
    report = f"\nreport  {found['report']}" if found["report"] else ""
    return f"\n{table}\n\n{found['headline']}\n\npage    {found['page']}{report}"
