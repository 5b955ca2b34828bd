"""Reports of a workspace: found by their job, and made again."""

from pathlib import Path
from typing import Any

from flows.after import earlier
from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.workspace import Workspace
from tasks.choice import chosen_step
from tasks.contents import REPORT_PAGE
from tasks.engine.console import Progress
from tasks.engine.runner import Run
from tasks.engine.stage import Placement
from tasks.report.earlier import Earlier
from tasks.report.stage import audits_of_earlier, latest_audit_and_ablation, report


def report_again(workspace: Workspace, run: str) -> Path:
    """Make the newest report of a job again, from its artifacts, and give its HTML page.

    Raises MissingArtifact where the job has no report, or an artifact that it shows is gone.
    """
    old = report_of(workspace, run)
    inputs = report.inputs(**known_now(workspace, workspace.record(old)["inputs"]))
    new = report.artifact(old.name, inputs)
    with workspace.writing():
        if known := workspace.find(new.kind, new.fingerprint):
            workspace.remove(known)
        workspace.refer(f"{old.name}.report", [new])
        Run(workspace, old.name, Placement(), Progress(1)).make(report, new, inputs)
    return workspace.path(new) / REPORT_PAGE


def known_now(workspace: Workspace, recorded: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a recorded report, with the audit and the ablation that have been made since."""
    requests = recorded.get("earlier") or []
    inputs: dict[str, Any] = {
        name: _artifacts(workspace, made_of) for name, made_of in recorded.items() if made_of and name != "earlier"
    }
    student = find_artifact(workspace, recorded["student"])
    step = int(workspace.record(student)["counts"]["steps"])
    if recorded.get("choice"):
        step = chosen_step(workspace, find_artifact(workspace, recorded["choice"]), step)
    if requests:
        judged = [_with_evaluations(workspace, request) for request in requests]
        inputs["earlier"] = audits_of_earlier(workspace, student, step, judged)
    return inputs | latest_audit_and_ablation(workspace, student, step)


def _with_evaluations(workspace: Workspace, recorded: dict[str, Any]) -> Earlier:
    evaluations = tuple(find_artifact(workspace, fingerprint) for fingerprint in recorded["evaluations"])
    return earlier(workspace, recorded).model_copy(update={"evaluations": evaluations})


def report_of(workspace: Workspace, run: str) -> Artifact:
    """The newest report of a job, by its name or the report's fingerprint; of any job where `run` is empty."""
    reports = [
        artifact
        for artifact in workspace.all()
        if artifact.kind == report.kind and run in ("", artifact.name, artifact.fingerprint)
    ]
    if not reports:
        raise MissingArtifact(
            f"expected a report {f'of {run} ' if run else ''}in {workspace.root}, found none: "
            "run the job (nepenthe unlearn JOB.toml); its last stage makes it"
        )
    return reports[-1]


def _artifacts(workspace: Workspace, fingerprint: str | list[str]) -> Artifact | list[Artifact]:
    if isinstance(fingerprint, list):
        return [find_artifact(workspace, each) for each in fingerprint]
    return find_artifact(workspace, fingerprint)


def find_artifact(workspace: Workspace, fingerprint: str) -> Artifact:
    """The artifact of a fingerprint, or of its beginning."""
    matching = [artifact for artifact in workspace.all() if artifact.fingerprint.startswith(fingerprint)]
    if len(matching) != 1:
        raise BadInput(f"expected one artifact whose fingerprint starts with {fingerprint}, found {len(matching)}")
    return matching[0]
