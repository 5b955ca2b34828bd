"""report: everything a run made, on one self-contained HTML page, and its numbers as JSON.

The page quotes the corpus and completions, so it is as confidential as the text itself. It is drawn from the
artifacts that the job names, never from the tables.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.contents import REPORT_EVIDENCE, REPORT_PAGE, Row, read_json, step_folder, write_json
from tasks.drawing.table import table_by_step
from tasks.drawing.template import markdown, rendered
from tasks.engine.stage import Context, Counts, stage
from tasks.report.request import Earlier

if TYPE_CHECKING:
    from tasks.report.evidence import ReportInputs


@stage("report", version=4, protected=True)
def report(
    context: Context,
    corpus: Artifact,
    dictionary: Artifact,
    blocks: Artifact,
    logits: Artifact,
    labels: Artifact,
    student: Artifact,
    evaluations: list[Artifact],
    choice: Artifact | None = None,
    audit: Artifact | None = None,
    ablation: Artifact | None = None,
    *,
    earlier: list[Earlier] | None = None,
) -> Counts:
    """Write report.html and evidence.json."""
    from tasks.report.evidence import ReportInputs

    path = corpus, dictionary, blocks, logits, labels, student
    tried = choice, audit, ablation, tuple(earlier or ())
    evidence, page = drawn(context.workspace, ReportInputs(*path, tuple(evaluations), *tried))
    write_json(context.folder / REPORT_EVIDENCE, evidence)
    (context.folder / REPORT_PAGE).write_text(page, encoding="utf-8")
    return {"evaluations": len(evaluations), "measures": len(evidence["measures"])}


def drawn(workspace: Workspace, inputs: "ReportInputs") -> tuple[Row, str]:
    """(evidence, HTML page). Memory is bounded whatever the size of the run."""
    from tasks.ablation.page import figures as figures_of_ablation
    from tasks.audit import page as audit
    from tasks.report.evidence import gather
    from tasks.report.figures import figures
    from tasks.report.limits import UNAUDITED, untested

    evidence, exhibits = gather(workspace, inputs)
    evidence |= {"untested": untested(evidence), "unaudited": UNAUDITED}
    parts: Row = {"evidence": evidence, "exhibits": exhibits}
    parts |= {"figures": figures(evidence), "table": table_by_step(evidence)}
    parts |= audit.parts(evidence["audit"], exhibits["audit"]) if evidence["audit"] else {}
    parts |= {"ablation_figures": figures_of_ablation(evidence["ablation"])} if evidence["ablation"] else {}
    return evidence, rendered("page.html.j2", **parts)


def latest_audit_and_ablation(workspace: Workspace, student: Artifact, step: int) -> dict[str, Artifact]:
    """The newest audit of a student's step and the newest ablation of the same lessons, as inputs of a report."""
    own, taught = audits_by_request(workspace, student, step).get(""), {}
    if workspace.find(student.kind, student.fingerprint):
        taught = workspace.record(student)["inputs"]
    latest = {"audit": own} if own else {}
    for artifact, record in workspace.records():
        lessons = [(record["inputs"].get(name), taught.get(name)) for name in ("labels", "settings")]
        if artifact.kind == "ablation" and all(mine and mine == theirs for mine, theirs in lessons):
            latest["ablation"] = artifact
    return latest


def audits_of_earlier(workspace: Workspace, student: Artifact, step: int, requests: Iterable[Earlier]) -> list[Earlier]:
    """The requests, each with the newest audit of a student's step by its text."""
    newest = audits_by_request(workspace, student, step)
    return [request.model_copy(update={"audit": newest.get(request.job)}) for request in requests]


def audits_by_request(workspace: Workspace, student: Artifact, step: int) -> dict[str, Artifact]:
    """The newest audit of a student's step by the text of each request, by its job; of its own under ""."""
    audited = f"{student.fingerprint}/{step_folder(step)}"
    return {
        record["inputs"].get("request", ""): artifact
        for artifact, record in workspace.records()
        if artifact.kind == "audit" and record["inputs"].get("model") == audited
    }


def markdown_summary(folder: Path) -> str:
    """The two headlines and the table by step of a finished report, as Markdown."""
    evidence = read_json(folder / REPORT_EVIDENCE)
    return markdown("summary.md.j2", {"evidence": evidence, "table": table_by_step(evidence)})
