"""report: everything a run made, on one self-contained HTML page, and its numbers as JSON.

The page quotes the corpus and completions, so it is as confidential as the text itself. It is drawn from the
artifacts that the job names, never from the tables.
"""

import json
from pathlib import Path

from storage.artifact import Artifact
from tasks.stage import Counts, Work, stage

PAGE = "report.html"
EVIDENCE = "evidence.json"


@stage("report", version=3, protected=True)
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
) -> Counts:
    """Write report.html and evidence.json."""
    from tasks.page.evidence import Made, gather
    from tasks.page.render import page

    made = Made(corpus, dictionary, blocks, logits, labels, student, tuple(evaluations), choice)
    evidence, exhibits = gather(work.workspace, made)
    text = json.dumps(evidence, indent=1, ensure_ascii=False, allow_nan=False)
    (work.folder / EVIDENCE).write_text(text, encoding="utf-8")
    (work.folder / PAGE).write_text(page(evidence, exhibits), encoding="utf-8")
    return {"evaluations": len(evaluations), "measures": len(evidence["measures"])}


def markdown_summary(folder: Path) -> str:
    """The two headlines and the table by step of a finished report, as Markdown."""
    from tasks.page.table import markdown

    return markdown(json.loads((folder / EVIDENCE).read_text(encoding="utf-8")))
