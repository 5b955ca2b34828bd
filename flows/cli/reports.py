"""Reports of a workspace: found by their job, and made again."""

from pathlib import Path
from typing import Any

from flows.after import earlier, latest_report
from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact, MissingArtifact
from storage.workspace import Workspace
from tasks.choice import chosen_step
from tasks.contents import REPORT_PAGE
from tasks.engine.call import artifacts_in
from tasks.engine.console import Progress
from tasks.engine.runner import Run
from tasks.engine.stage import Placement
from tasks.report.stage import audits_of_earlier, latest_audit_and_ablation, report

AFTER_PURGE = ". One was purged: that run makes all that was purged again; export and evidence belong before a purge"


def report_again(workspace: Workspace, run: str) -> Path:
    """Make the newest report of a job again, from its artifacts, and give its HTML page.

    Raises MissingArtifact where the job has no report, or an artifact that it shows is gone.
    """
    old = report_of(workspace, run)
    inputs = report.inputs(**known_now(workspace, workspace.record(old)["inputs"]))
    new = report.artifact(old.name, inputs)
    for needed in artifacts_in(inputs):
        if damaged := workspace.damaged(needed):  # said before the old page goes
            raise DamagedArtifact.of(needed.folder, workspace.address, damaged)
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
    student = inputs["student"]
    step = int(workspace.record(student)["counts"]["steps"])
    if "choice" in inputs:
        step = chosen_step(workspace, inputs["choice"], step)
    if requests:
        judged = []
        for request in requests:
            evaluations = tuple(_artifacts(workspace, request["evaluations"]))
            judged.append(earlier(workspace, request).model_copy(update={"evaluations": evaluations}))
        inputs["earlier"] = audits_of_earlier(workspace, student, step, judged)
    return inputs | latest_audit_and_ablation(workspace, student, step)


def report_of(workspace: Workspace, run: str) -> Artifact:
    """The report of a job's latest run, by the job's name, or by its own fingerprint; the newest where `run` is empty.

    A run whose stages were all cached is a latest run, too; of reports that were made again the newest counts.
    """
    reports = [
        artifact
        for artifact in workspace.all()
        if artifact.kind == report.kind and run in ("", artifact.name, artifact.fingerprint)
    ]
    if not reports:
        purged = any(key.startswith(f"{report.kind}-") for purge in workspace.purges() for key in purge["artifacts"])
        raise MissingArtifact(
            f"expected a report {f'of {run} ' if run else ''}in {workspace.address}, found none: "
            "run the job (nepenthe unlearn JOB.toml); its last stage makes it" + (AFTER_PURGE if purged else "")
        )
    current = latest_report(workspace, run)
    return [report for report in reports if not current or _shown(workspace, report) == _shown(workspace, current)][-1]


def _shown(workspace: Workspace, page: Artifact) -> dict[str, Any]:
    """What a report was made from, but for what may have been made since."""
    made_from = workspace.record(page)["inputs"]
    return {name: value for name, value in made_from.items() if name not in ("audit", "ablation", "earlier")}


def _artifacts(workspace: Workspace, fingerprint: str | list[str]) -> Any:
    """The artifact of a fingerprint, or those of several."""
    if isinstance(fingerprint, list):
        return [_artifacts(workspace, each) for each in fingerprint]
    matching = [artifact for artifact in workspace.all() if artifact.fingerprint == fingerprint]
    if len(matching) != 1:
        raise BadInput(f"expected one artifact whose fingerprint starts with {fingerprint}, found {len(matching)}")
    return matching[0]
