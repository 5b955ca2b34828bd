"""Requests in sequence: a job that goes on with what an earlier one left, and keeps its request in force."""

from dataclasses import astuple
from typing import Any

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.workspace import Workspace
from tasks.choice import chosen_step
from tasks.contents import step_folder
from tasks.models import Model, made_model
from tasks.report.request import Earlier


def following(after: str, model: Model, workspace: Workspace) -> dict[str, Any]:
    """What becomes of the inputs of a job after another: that one's chosen student as baseline, all requests up to it.

    `model` is the one that the job names. Raises BadInput for what cannot be gone on with.
    """
    page = latest_report(workspace, after)
    if page is None:
        raise BadInput(
            f"after: expected an earlier job with a finished run in {workspace.address}, found none called "
            f"{after!r}: run it first (nepenthe unlearn), or leave `after` out"
        )
    made_from = workspace.record(page)["inputs"]
    student, choice = (needed(workspace, kind, made_from[kind], after) for kind in ("student", "choice"))
    part = step_folder(chosen_step(workspace, choice, 0))
    workspace.path(student, [name for name in workspace.record(student)["files"] if name.startswith(f"{part}/")])
    before = made_from.get("earlier") or []
    first = before[0]["original"] if before else workspace.record(student)["inputs"]["baseline"]
    if first != model.fingerprint:
        raise BadInput(
            f"after: expected the model that {after} began with ({first}), found {model.path} ({model.fingerprint}): "
            "a later request names the same model as the first"
        )
    requests = [*before, made_from | {"job": after, "original": first}]
    return {
        "original": model,
        "baseline": made_model(workspace, student, part, model.tokenizer),
        "earlier": tuple(earlier(workspace, request) for request in requests),
    }


def earlier(workspace: Workspace, recorded: dict[str, Any]) -> Earlier:
    """An earlier request as a report's record names it. BadInput where what is kept of it is gone."""
    job, kept = recorded["job"], ("corpus", "dictionary", "labels")
    artifacts: dict[str, Any] = {kind: needed(workspace, kind, recorded[kind], job) for kind in kept}
    return Earlier(job=job, original=recorded["original"], **artifacts)


def latest_report(workspace: Workspace, name: str) -> Artifact | None:
    """The report of a job's latest run that was finished."""
    reports = [artifact for artifact in workspace.all() if (artifact.kind, artifact.name) == ("report", name)]
    latest = workspace.references().get(f"{name}.unlearn") or {}
    needed_by = [latest.get("artifacts", []), latest.get("last", [])]  # of the latest run, of the last that has ended
    noted = (artifact for needs in needed_by for artifact in reports if [*astuple(artifact)] in needs)
    return next(noted, next(reversed(reports), None))


def needed(workspace: Workspace, kind: str, fingerprint: str, name: str) -> Artifact:
    """What is kept of an earlier job; a reviewed dictionary is of another kind. BadInput where it is gone."""
    kinds = (kind, "review") if kind == "dictionary" else (kind,)
    artifacts = filter(None, (workspace.find(each, fingerprint) for each in kinds))
    if artifact := next(artifacts, None):
        return artifact
    raise BadInput(
        f"after: expected {kind} {fingerprint} of {name} in {workspace.address}, found it gone (nepenthe purge, "
        f"nepenthe gc): run {name} again"
    )
