"""report: everything a run made, on one self-contained HTML page."""

from storage.artifact import Artifact
from tasks.stage import Counts, Work, stage


@stage("report", version=1)
def report(
    work: Work,
    corpus: Artifact,
    dictionary: Artifact,
    blocks: Artifact,
    logits: Artifact,
    labels: Artifact,
    student: Artifact,
    evaluations: list[Artifact],
) -> Counts:
    """Write report.html."""
    (work.folder / "report.html").write_text("<html></html>", encoding="utf-8")
    return {"evaluations": len(evaluations)}
