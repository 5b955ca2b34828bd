"""Side effects: what unlearning cost on text near the target (the same genre, the same author, another cast)."""

from collections.abc import Sequence
from dataclasses import replace

from tasks.audit.common import NEEDS_NEIGHBOURS, Attack, Attacked, AuditedModel, Metric
from tasks.audit.verdicts import AuditValues, Ruling, percent, plain
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Measured
from tasks.measure.suite import Suite
from tasks.texts import Texts

MARGIN = 0.03  # of the baseline's perplexity


@stage("side-effects", version=2, heavy=True, reads=True)
def side_effects(context: Context, suspect: AuditedModel, neighbours: Texts, suite: Suite) -> Counts:
    """Perplexity on text near the target, over the windows that the evaluation's suite has."""
    attacked = Attacked(context, suspect)
    return attacked.write([near_perplexity(attacked.loaded, neighbours.read(), suite)], 1)


def near_perplexity(loaded: LoadedModel, neighbours: Sequence[str], suite: Suite) -> Measured:
    from tasks.measure.perplexity import perplexity

    return replace(perplexity(loaded, neighbours, suite.window, suite.windows), metric="neighbour_perplexity")


def judge(values: AuditValues) -> Ruling:
    model, baseline, gold = (values.of(who, "neighbour_perplexity") for who in ("model", "baseline", "gold"))
    named = {"": model, "baseline ": baseline, "gold ": gold}
    numbers = ", ".join(f"{name}{plain(value.value)}" for name, value in named.items() if value)
    if model is None or baseline is None:
        return "alone", f"Perplexity on text near the target: {numbers}. There is no baseline."
    rise = model.value / baseline.value - 1
    lead = f"Perplexity on text near the target: {numbers}; {100 * rise:+.1f} %."
    if rise <= MARGIN:
        return "kept", f"{lead} That is within {percent(MARGIN, 0)}."
    return "harmed", f"{lead} That is more than {percent(MARGIN, 0)}."


SIDE_EFFECTS = Attack(
    stage=side_effects,
    title="Side effects",
    question="Was text harmed that is near the target without being of it?",
    metrics={
        "neighbour_perplexity": Metric("perplexity on text near the target", "perplexity"),
    },
    calls=lambda target, texts, settings: [(texts.neighbours, target.suite)] if texts.neighbours else [],
    judge=judge,
    untested="Side effects on texts that are near the target (the same genre, the same author).",
    missing=lambda texts: {} if texts.neighbours else {"side-effects": NEEDS_NEIGHBOURS},
)
