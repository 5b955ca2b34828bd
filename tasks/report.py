"""report: everything a run made, on one self-contained HTML page, and its numbers as JSON.

The page quotes the corpus and completions, so it is as confidential as the text itself. It is drawn from the
artifacts that the job names, never from the tables.
"""

import json
from pathlib import Path

from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.ablation import ablation
from tasks.findings import audit
from tasks.stage import Counts, Work, stage
from tasks.student import part_of

PAGE = "report.html"
EVIDENCE = "evidence.json"


@stage("report", version=4, protected=True)
def report(
    work: Work,
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
) -> Counts:
    """Write report.html and evidence.json."""
    from tasks.page.evidence import Made, gather
    from tasks.page.render import page

    made = Made(corpus, dictionary, blocks, logits, labels, student, tuple(evaluations), choice, audit, ablation)
    evidence, exhibits = gather(work.workspace, made)
    text = json.dumps(evidence, indent=1, ensure_ascii=False, allow_nan=False)
    (work.folder / EVIDENCE).write_text(text, encoding="utf-8")
    (work.folder / PAGE).write_text(page(evidence, exhibits), encoding="utf-8")
    return {"evaluations": len(evaluations), "measures": len(evidence["measures"])}


def tried(workspace: Workspace, student: Artifact, step: int) -> dict[str, Artifact]:
    """The newest audit of a student's step and the newest ablation of the same lessons, as inputs of a report."""
    audited, taught = f"{student.fingerprint}/{part_of(step)}", {}
    if workspace.find(student.kind, student.fingerprint):
        taught = workspace.record(student)["inputs"]
    found = {}
    for artifact, record in workspace.records():
        if artifact.kind not in (audit.kind, ablation.kind):
            continue
        inputs = record["inputs"]
        lessons = [(inputs.get(name), taught.get(name)) for name in ("labels", "settings")]
        if inputs.get("model") == audited or all(mine and mine == theirs for mine, theirs in lessons):
            found[artifact.kind] = artifact
    return found


def markdown_summary(folder: Path) -> str:
    """The two headlines and the table by step of a finished report, as Markdown."""
    from tasks.page.table import markdown

    return markdown(json.loads((folder / EVIDENCE).read_text(encoding="utf-8")))
