"""The control of a job: a model that never read the target, trained on the job's text to retain."""

from functools import partial

from prefect import flow

from flows.inputs import fits, read_retained
from flows.job import Job
from flows.unlearn import ROOT
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.opening import open_workspace
from tasks.contents import LAST
from tasks.engine.runner import Runner, planned_run
from tasks.gold import gold as gold_stage
from tasks.models import Model, find_model, same_vocabulary
from tasks.retained import retained
from tasks.texts import find_files
from tasks.training.settings import split


def resolve_gold(job: Job, start: str, hashes: Hashes) -> tuple[Model, Model | None, Files]:
    """Baseline, the model to start from, the text. Raises BadInput for what cannot be trained with."""
    if not job.retain.paths:
        raise BadInput(
            "expected retain.paths, the text that the control is trained on and nothing of the target, found none: "
            "where there is no such text, audit.screen = true compares with names that nobody knows, which is less"
        )
    split(job.control, job.placement)
    baseline, first = find_model(job.model, hashes), find_model(start, hashes) if start else None
    if first:
        same_vocabulary(baseline, first)
    fits("blocks.length", job.blocks.length, first or baseline)
    files = find_files(job.retain.paths, hashes, "retain.paths")
    read_retained(files, job.retain.text_column, baseline)
    return baseline, first, files


@flow(name="gold", flow_run_name="gold {job.name}", persist_result=False)
def gold(job: Job, start: str = "", root: str = ROOT, wait: float | None = None) -> str:
    """Train it, and give its directory: `gold = "..."` in the job makes it what students are compared with."""
    workspace = open_workspace(root)
    control = planned_run(workspace, job.name, job.placement, wait, partial(pipeline, job, start))
    return str(workspace.path(control) / LAST)


def pipeline(job: Job, start: str, run: Runner) -> Artifact:
    """The text in blocks, and the training on it."""
    baseline, first, files = resolve_gold(job, start, run.workspace.hashes)
    text = run(retained, files, job.retain.text_column, baseline.tokenizer, job.blocks.length)
    return run(gold_stage, text, baseline, first, job.control)
