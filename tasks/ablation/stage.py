"""ablation: what each half of the method does alone, measured at the same steps; a page, and a section of the report.

It holds numbers and no item, so unlike the report it does not quote the text.
"""

from storage.artifact import Artifact
from tasks.contents import ABLATION_EVIDENCE, ABLATION_PAGE, write_json
from tasks.drawing.template import rendered
from tasks.engine.stage import Context, Counts, stage
from tasks.training.settings import StudentSettings


@stage("ablation", version=2)
def ablation(context: Context, evaluations: list[Artifact], labels: Artifact, settings: StudentSettings) -> Counts:
    """Write ablation.json and ablation.html from evaluations of baseline, gold and all three arms.

    `labels` and `settings` are those of the student with both parts: by them a report knows its ablation.
    """
    from tasks.ablation.arms import compare_arms
    from tasks.ablation.page import figures

    folders = [(evaluation.fingerprint, context.path(evaluation)) for evaluation in evaluations]
    comparison = {"job": evaluations[0].name} | compare_arms(folders)
    write_json(context.folder / ABLATION_EVIDENCE, comparison)
    page = rendered("ablation_page.html.j2", ablation=comparison, ablation_figures=figures(comparison))
    (context.folder / ABLATION_PAGE).write_text(page, encoding="utf-8")
    return {"evaluations": len(evaluations), "measures": len(comparison["measures"])}
