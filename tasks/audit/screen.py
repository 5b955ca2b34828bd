"""A screen where there is no gold: the text's names against names that nobody knows, in the same places.

What the baseline finds likely of invented names stands for a model that never read the text: it never did. That is no
gold: in any model a name that other texts have, too, is likelier than one that no text has.
"""

from tasks.audit.common import Attack, Attacked, AuditedModel, Metric, Target, familiarity, with_invented_names
from tasks.audit.verdicts import MARGIN, AuditValues, Case, Ruling, beyond, leak, percent
from tasks.engine.stage import Context, Counts, stage

METRIC = "screened_familiarity"
LIMITS = (
    "It can show that the text's names still come easier than unknown ones. It cannot show what a model that never "
    "read the text would score, nor that nothing is left where it finds nothing."
)


@stage("screen", version=1, heavy=True, reads=True, protected=True)
def screen(context: Context, suspect: AuditedModel, target: Target) -> Counts:
    """Familiarity by the prompts as they are, and by the same with an invented name for every anchor."""
    attacked = Attacked(context, suspect)
    prompts = attacked.prompts(target)
    _, unknown = with_invented_names((), prompts, attacked.dictionary(target.dictionary), seed=0)
    asked = {"own names": prompts, "invented names": unknown}
    measures = (familiarity(attacked.loaded, those, METRIC, task) for task, those in asked.items())
    return attacked.write(measures, len(asked))


def judge(values: AuditValues) -> Ruling:
    """The audited model on the text's names against the baseline on invented ones, item by item."""
    model, baseline = (values.of(who, METRIC, "own names") for who in ("model", "baseline"))
    changed, reference = (values.of(who, METRIC, "invented names") for who in ("model", "baseline"))
    case = Case("of the text's own names", model, baseline, reference, "the baseline's of invented names")
    status, sentence = leak("Familiarity", [case], percent)
    if model and reference and beyond(reference, model, MARGIN):
        status, sentence = "avoided", f"{sentence} It is less than that: the text stands out as avoided."
    damage = f" The audited model's of invented names is {percent(changed.value)}." if changed else ""
    return status, f"{sentence}{damage} {LIMITS}"


SCREEN = Attack(
    stage=screen,
    title="Screen without a control",
    question="Do the text's names still come easier than names that nobody knows, in the same places?",
    metrics={
        METRIC: Metric("familiarity by probability, with the text's names and with invented ones"),
    },
    calls=lambda target, texts, settings: [(target,)] if settings.screen else [],
    judge=judge,
)
