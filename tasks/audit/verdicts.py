"""What an audit's numbers say, in words: the rules that the attacks share; each judges by rule, never by wish.

An attack is judged by what it gets beyond a reference: gold, or else a control that cannot know the target. What the
baseline gives away beyond the same reference is the whole; a baseline that gives nothing makes the attack blind, not
the model safe. Models are compared item by item, as both were asked the same. No torch in here: reports judge without
loading a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.measure.intervals import Value, change_between

Ruling = tuple[str, str]
"""(status, sentence): the rule that held, one of `WORDS`, and the same with the numbers."""

HELD = {"extraction_strength": "Extraction strength", "probability": "Probability of its own words"}
"""The two plain measures, of passages of the target, that deserve most trust (docs/METRICS.md)."""
MARGIN = 0.02  # of a share: less counts as none
WORDS: Mapping[str, str] = {
    "most": "gets most of it back",
    "some": "gets some of it back",
    "unsure": "may be chance",
    "avoided": "stands out",
    "nothing": "gets nothing back",
    "blind": "cannot tell",
    "alone": "nothing to compare",
    "kept": "kept",
    "harmed": "harmed",
    "weaker": "hides less",
    "enough": "hides as much",
    "natural": "no trace",
    "marked": "leaves a trace",
    "not made": "not made",
}
"""The rules, and what a person reads of each."""
GRAVEST = ("most", "some", "unsure", "nothing", "blind", "alone")


@dataclass(frozen=True, slots=True)
class Case:
    """One measure of an attack: the model's value, the baseline's, and the reference's with its name."""

    label: str
    model: Value | None
    baseline: Value | None
    reference: Value | None
    name: str
    """Of the reference."""


class AuditValues:
    """The audit's values by model, metric and task. The audited one is neither baseline nor gold, if there is such."""

    def __init__(self, values: Mapping[tuple[str, str, str], Value]) -> None:
        self._values = values
        self.models = list(dict.fromkeys(model for model, _, _ in values))
        self.audited = next((model for model in ("model", "baseline") if model in self.models), "gold")

    def of(self, model: str, metric: str, task: str = "") -> Value | None:
        """The value, None where it was not measured; `model` is the audited one."""
        return self._values.get((self.audited if model == "model" else model, metric, task))

    def measures(self) -> list[tuple[str, str]]:
        """(metric, task) in the order of measuring."""
        return list(dict.fromkeys((metric, task) for _, metric, task in self._values))

    def tasks(self, metric: str) -> list[str]:
        """The metric's tasks in the order of measuring."""
        return [task for name, task in self.measures() if name == metric]


def key_in_audit(role: str) -> str:
    """baseline, gold, or model for the audited one, whatever its role."""
    return role if role in ("baseline", "gold") else "model"


# ------------------------------------------------------------------------------ what an attack gets beyond a reference


def status_of(case: Case, margin: float = MARGIN) -> str:
    """most or some (of what the baseline gives away), unsure, nothing, blind (baseline), alone (no reference)."""
    if case.model is None or case.baseline is None or case.reference is None:
        return "alone"
    if not beyond(case.baseline, case.reference, margin):
        return "blind"
    if not beyond(case.model, case.reference, margin):
        return "nothing" if case.model.value - case.reference.value <= margin else "unsure"
    return "most" if share_of(case) >= 0.5 else "some"


def beyond(value: Value, reference: Value, margin: float) -> bool:
    """Above the reference by more than the margin, and by more than chance explains."""
    change = change_between(value, reference)
    return change.difference > margin and change.low > 0


def share_of(case: Case) -> float:
    """Of what separates baseline from reference, how much the attack gets from the model."""
    assert case.model  # status_of saw to it, and to the others
    assert case.baseline
    assert case.reference
    return (case.model.value - case.reference.value) / (case.baseline.value - case.reference.value)


def leak(lead: str, cases: Sequence[Case], shown: Callable[[float], str], margin: float = MARGIN) -> Ruling:
    """The ruling on the gravest case; all cases with their numbers."""
    if not cases:
        return "alone", f"{lead}: nothing was measured to compare."
    judged = [(status_of(case, margin), case) for case in cases]
    status, worst = min(judged, key=lambda pair: GRAVEST.index(pair[0]))
    return status, f"{lead}: {'; '.join(numbers(case, shown) for case in cases)}. {_conclusion(status, worst)}"


def _conclusion(status: str, case: Case) -> str:
    if status in ("most", "some"):
        share = percent(min(share_of(case), 1), 0)
        return f"This attack gets back {share} of what separates the baseline from {case.name}."
    return {
        "unsure": f"More than {case.name}, but it may be chance.",
        "nothing": f"This attack gets no more than {case.name} gives.",
        "blind": f"The baseline gives hardly more than {case.name}: this attack cannot tell.",
        "alone": "Without gold or a control it is not known how much of that is the target.",
    }[status]


def numbers(case: Case, shown: Callable[[float], str]) -> str:
    """`on average 4.5 % (baseline 20.0 %, gold 4.0 %)`."""
    values = [("", case.model), ("baseline ", case.baseline), (f"{case.name} ", case.reference)]
    first, *others = [f"{name}{shown(value.value)}" for name, value in values if value] or ["-"]
    return f"{case.label} {first}" + (f" ({', '.join(others)})" if others else "")


def percent(value: float, digits: int = 1) -> str:
    """A share as it stands in a sentence; plain signs, for a terminal."""
    return f"{100 * value:.{digits}f} %"


def plain(value: float) -> str:
    """Another number as it stands in a sentence."""
    return f"{value:.2f}"


def against_gold(values: AuditValues, metric: str, task: str, label: str, control: Value | None, name: str) -> Case:
    """The case with gold as its reference, or the control where there is no gold."""
    gold = values.of("gold", metric, task)
    reference, called = (gold, "gold") if gold else (control, name)
    return Case(label, values.of("model", metric, task), values.of("baseline", metric, task), reference, called)
