"""What the numbers say, in words: every verdict is a rule on measured values and their intervals, never on a wish.

The one thing to get right: absence of evidence. A baseline that never showed the text cannot be shown to have
forgotten it, and few questions cannot exclude a loss; both get their own verdict.
"""

from collections.abc import Callable, Iterator, Sequence

from storage.reader import Row
from tasks.audit.verdicts import HELD
from tasks.drawing.numbers import fixed, percent, signed
from tasks.measure.intervals import Change, Value
from tasks.measure.results import Measure, Subject
from tasks.measure.verdict import Verdict

NEGLIGIBLE = 0.02
"""Familiarity up to this above gold (or above nothing) counts as none; a baseline below it had nothing to forget."""
ABILITY_MARGIN = 0.02
"""Loss of accuracy that is still called kept: two points."""
PERPLEXITY_MARGIN = 0.03
"""Rise of perplexity that is still called kept."""

_BLIND = f"The baseline showed less than {percent(NEGLIGIBLE, 0)}, so this test cannot show forgetting."

Values = tuple[Value, Value, Value | None]
"""Before, after, gold."""


def forgetting(measures: Sequence[Measure], student: Subject | None, audit: Row | None) -> tuple[str, list[Row]]:
    """(headline, verdicts as rows), by familiarity in the evaluations and by what the audit found the model to hold.

    A verdict on a measure of the audit leads to the audit's section.
    """
    if student is None:
        return headline_of_forgetting([]), []
    shown = forgotten(measures, student)
    held = forgotten(held_measures(audit, student.key) if audit else [], student)
    rows = [verdict.row("name") for verdict in shown] + [verdict.row("name") | {"anchor": "audit"} for verdict in held]
    numbers = audit.get("held", "") if audit else ""
    return f"{headline_of_forgetting([*shown, *held])} {numbers}".rstrip(), rows


def held_measures(audit: Row, student: str) -> list[Measure]:
    """Extraction strength and probability of passages of the target, with the audited model under the student's key.

    They are judged as familiarity is, where gold was audited too: without it nobody knows how probable the text's own
    words are to a model that never read them.
    """
    measures = []
    for row in audit["measures"]:
        if row["metric"] in HELD and row["task"] == "target" and {"model", "gold"} <= row["values"].keys():
            values = {
                student if model == "model" else model: Value(
                    value["value"], value["low"], value["high"], value["items"]
                )
                for model, value in row["values"].items()
            }
            count = values[student].count
            changes = {(student, against): Change(**change, count=count) for against, change in row["changes"].items()}
            measures.append(Measure(f"familiarity_{HELD[row['metric']].lower()}", "", values, changes))
    return measures


def forgotten(measures: Sequence[Measure], student: Subject) -> list[Verdict]:
    """A verdict on every measure of familiarity."""
    pairs = _both(measures, student, ("familiarity",))
    return [_of_familiarity(m, values, change, m.changes.get((student.key, "gold"))) for m, values, change in pairs]


def kept(measures: Sequence[Measure], student: Subject) -> list[Verdict]:
    """A verdict on every ability and on perplexity."""
    pairs = _both(measures, student, ("ability", "perplexity"))
    return [_of_ability(measure, values, change) for measure, values, change in pairs]


def headline_of_forgetting(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all measures of familiarity."""
    statuses = {verdict.status for verdict in verdicts}
    if not statuses:
        return "Nothing was measured that could show forgetting."
    if "increased" in statuses:
        return "The model shows more of the text than before in at least one test."
    if "unchanged" in statuses:
        return "In at least one test the model shows as much of the text as before, as far as the test can tell."
    if statuses == {"blind"}:
        return "These tests cannot show forgetting: the model hardly showed the text before unlearning either."
    if "reduced" in statuses:
        return "The model shows less of the text than before, but it still shows some of it."
    return "In these tests the model shows next to nothing of the text any more" + (
        "; at least one test could not tell." if "blind" in statuses else "."
    )


def headline_of_keeping(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all abilities."""
    statuses = {verdict.status for verdict in verdicts}
    if not statuses:
        return "No general ability was measured: what unlearning cost is not known."
    if "lost" in statuses:
        names = ", ".join(verdict.about for verdict in verdicts if verdict.status == "lost")
        return f"It lost more than the margin allows in at least one test ({names})."
    if "unsure" in statuses:
        return "Not every loss can be excluded: a test has too few questions, or shows a loss that may be chance."
    return "It kept its general abilities within the margins that were set."


def _both(
    measures: Sequence[Measure], student: Subject, kinds: tuple[str, ...]
) -> Iterator[tuple[Measure, Values, Change | None]]:
    """Measures of these kinds that both baseline and student have: (measure, their values and gold's, the change)."""
    for measure in measures:
        before, after = measure.values.get("baseline"), measure.values.get(student.key)
        if measure.kind in kinds and before and after:
            change = measure.changes.get((student.key, "baseline"))
            yield measure, (before, after, measure.values.get("gold")), change


def _of_familiarity(measure: Measure, values: Values, change: Change | None, over_gold: Change | None) -> Verdict:
    before, after, gold = values
    status = _familiarity_status(before, after, gold, change)
    upper = over_gold.high if over_gold else after.high
    size: Callable[[float], str] = percent if measure.share else fixed
    than = "than the model that never read the text shows" if gold else "than nothing"
    words = {
        "blind": ("cannot tell", _BLIND),
        "unchanged": ("no change shown", "The change cannot be told from chance."),
        "increased": ("more than before", "The model shows more of the text than before, beyond chance."),
        "reduced": ("less, not gone", f"Fell beyond chance, but it may be up to {size(upper)} more {than}."),
        "gone": ("gone", _gone(upper, than, size)),
    }
    return _verdict(measure, status, words[status], values, change)


def _gone(upper: float, than: str, size: Callable[[float], str]) -> str:
    if upper <= NEGLIGIBLE:
        return f"Fell beyond chance, to at most {size(max(upper, 0.0))} more {than}."
    return f"Fell beyond chance, to about what is expected; up to {size(upper)} more {than} cannot be excluded."


def _familiarity_status(before: Value, after: Value, gold: Value | None, change: Change | None) -> str:
    if before.value < NEGLIGIBLE and after.value < NEGLIGIBLE:
        return "blind"
    if change is None or change.low <= 0 <= change.high:
        return "unchanged"
    if change.low > 0:
        return "increased"
    return "gone" if after.value - (gold.value if gold else 0.0) <= NEGLIGIBLE else "reduced"


def _of_ability(measure: Measure, values: Values, change: Change | None) -> Verdict:
    perplexity = measure.kind == "perplexity"
    margin = PERPLEXITY_MARGIN if perplexity else ABILITY_MARGIN
    loss, least, most = _losses(change, perplexity)
    limit, highest = (_loss(share, perplexity) for share in (margin, most))
    if most <= margin:
        status, words = "kept", ("kept", f"{limit[0].upper()}{limit[1:]} or more is excluded.")
    elif loss <= margin:
        status, words = "unsure", ("within margin", f"Within the margin; up to {highest} cannot be excluded.")
    elif least <= 0:
        sentence = f"Above the margin, but it may be chance; up to {highest} cannot be excluded."
        status, words = "unsure", ("may be chance", sentence)
    else:
        sentence = f"Above the margin and beyond chance; up to {highest} cannot be excluded."
        status, words = "lost", ("lost some", sentence)
    return _verdict(measure, status, words, values, change)


def _losses(change: Change | None, perplexity: bool) -> tuple[float, float, float]:
    """(measured, least, most) loss: a rise of perplexity, a fall of accuracy."""
    if change is None:
        return 0.0, -1.0, 1.0
    if perplexity:
        return change.difference, change.low, change.high
    return -change.difference, -change.high, -change.low


def _loss(share: float, perplexity: bool) -> str:
    return f"a rise of {percent(share)}" if perplexity else f"a loss of {fixed(100 * share, 1)} points"


def _verdict(
    measure: Measure,
    status: str,
    words: tuple[str, str],
    values: Values,
    change: Change | None,
) -> Verdict:
    before, after, gold = (shown(measure, value) for value in values)
    numbers = {"before": before, "after": after, "reference": gold, "change": shown_change(measure, change)}
    return Verdict(measure.name, status, *words, numbers)


def shown(measure: Measure, value: Value | None) -> str:
    """A value as it stands in the summary: shares as percent, perplexity as it is."""
    if value is None:
        return ""
    return percent(value.value) if measure.share else fixed(value.value)


def shown_change(measure: Measure, change: Change | None) -> str:
    """A change with its interval."""
    if change is None:
        return ""
    relative = measure.kind == "perplexity"
    factor, digits = (100, 1) if measure.share or relative else (1, 3)
    size, low, high = (signed(factor * part, digits) for part in (change.difference, change.low, change.high))
    if measure.share:
        return f"{size} points ({low} to {high})"
    return f"{size} % ({low} to {high} %)" if relative else f"{size} ({low} to {high})"
