"""choice: which kept step becomes the model, by rule from the evidence and not by hand, with the reasons as sentences.

The first step at which every condition holds wins, not the best one: each further step costs ability. Without a rule it
is the last step. A rule that no step meets still leaves a model, and says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from pydantic import Field, model_validator

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.settings import Settings
from storage.workspace import Workspace
from tasks.contents import CHOICE, Row, evaluation_rows, read_json, write_json
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.verdict import name_of


class StopRule(Settings):
    """When a student has forgotten enough, and what that may cost. Nothing set: the last step is kept."""

    familiarity: float | None = Field(default=None, ge=0)
    """Highest familiarity, in every measure of it."""
    above_gold: float | None = Field(default=None, ge=0)
    """Or: at most so much above gold in every measure. Where both are set, the larger limit counts."""
    accuracy_points: float | None = Field(default=None, ge=0)
    """Points of accuracy, of 100, that every benchmark may lose against the baseline."""
    perplexity_percent: float | None = Field(default=None, ge=0)
    """Percent by which perplexity may rise over the baseline's."""

    early: bool = False
    """Evaluate at every kept step before training goes on, and end the training where the rule holds. Each pause costs
    the room of a checkpoint on the disk, about 12 bytes a parameter."""

    @model_validator(mode="after")
    def _ends_somewhere(self) -> "StopRule":
        if self.early and not self.given:
            raise ValueError("expected a limit with early, at which the training ends, found none")
        return self

    @property
    def given(self) -> bool:
        limits = (self.familiarity, self.above_gold, self.accuracy_points, self.perplexity_percent)
        return any(limit is not None for limit in limits)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition at one step: the measured value, and the most that the rule allows, in the same unit."""

    kind: str
    """familiarity or ability."""
    what: str
    unit: str
    value: float
    limit: float

    @property
    def held(self) -> bool:
        """Up to what floating point adds."""
        return self.value <= self.limit + 1e-9

    @property
    def sentence(self) -> str:
        """The same for a person."""
        digits = 1 if self.unit else 3
        shown = f"{self.value:.{digits}f}" if round(self.value, digits) else f"{0:.{digits}f}"  # no "-0.0"
        allowed = f"the {self.limit:.{digits}f}{self.unit} that the rule allows"
        return f"{self.what} {shown}{self.unit}, {'within' if self.held else 'more than'} {allowed}."


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen step, whether the rule holds there, and why it was chosen."""

    step: int
    held: bool
    reasons: tuple[str, ...]


@stage("choice", version=1)
def choice(context: Context, evaluations: list[Artifact], rule: StopRule) -> Counts:
    """Write choice.json: {step, held, reasons, rule}."""
    chosen = choose(evaluation_rows(*map(context.path, evaluations)), rule)
    write_json(context.folder / CHOICE, asdict(chosen) | {"rule": rule.model_dump()})
    return {"step": chosen.step, "held": chosen.held}


def chosen_step(workspace: Workspace, choice: Artifact, otherwise: int) -> int:
    """The step of a choice; `otherwise` where it is only planned."""
    if not workspace.find(choice.kind, choice.fingerprint):
        return otherwise
    return int(read_json(workspace.path(choice) / CHOICE)["step"])


def enough(workspace: Workspace, evaluations: Sequence[Artifact], step: int, rule: StopRule) -> bool:
    """Whether the rule holds at this step; no, where an evaluation is only planned."""
    if any(workspace.find(evaluation.kind, evaluation.fingerprint) is None for evaluation in evaluations):
        return False
    rows = evaluation_rows(*map(workspace.path, evaluations))
    return all(condition.held for condition in conditions(rows, step, rule))


def choose(rows: Sequence[Row], rule: StopRule) -> Choice:
    """The step to keep, from rows of the table `evaluations` of baseline, students and gold."""
    students = sorted({row["step"] for row in rows if row["model"] == "student"})
    if not students:
        raise BadInput("expected evaluations of a student to choose a step from, found none")
    if not rule.given:
        return Choice(students[-1], True, ("No stop rule was set: the last step is kept.",))
    by_step = {step: list(conditions(rows, step, rule)) for step in students}
    held = [step for step, at_step in by_step.items() if all(condition.held for condition in at_step)]
    if held:
        step, first = held[0], f"Step {held[0]} is the first kept step at which every condition of the stop rule holds."
    else:
        step = min(by_step, key=lambda step: (*_oversteps(by_step[step]), step))
        first = f"No kept step meets the stop rule. Step {step} oversteps it least, abilities before familiarity."
    early = [
        f"Not step {before}: {condition.sentence}"
        for before in students
        if held and before < step
        for condition in by_step[before]
        if not condition.held
    ]
    return Choice(step, bool(held), (first, *(condition.sentence for condition in by_step[step]), *early))


def conditions(rows: Sequence[Row], step: int, rule: StopRule) -> Iterator[Condition]:
    known = {(row["model"], row["step"], row["metric"], row["task"]): row["value"] for row in rows}
    for (model, at, metric, task), value in known.items():
        if (model, at) != ("student", step):
            continue
        before, gold = (known.get((role, None, metric, task)) for role in ("baseline", "gold"))
        name = name_of(metric, task)
        if metric.startswith("familiarity"):
            limits = [] if rule.familiarity is None else [rule.familiarity]
            limits += [] if rule.above_gold is None or gold is None else [gold + rule.above_gold]
            if limits:
                yield Condition("familiarity", f"{name} is", "", value, max(limits))
        elif metric == "accuracy" and rule.accuracy_points is not None and before is not None:
            yield Condition("ability", f"{name} lost", " points", 100 * (before - value), rule.accuracy_points)
        elif metric == "perplexity" and rule.perplexity_percent is not None and before is not None:
            yield Condition("ability", f"{name} rose by", " %", 100 * (value / before - 1), rule.perplexity_percent)


def _oversteps(conditions: Sequence[Condition]) -> tuple[float, float]:
    """By how much the worst condition on abilities, then on familiarity, is overstepped."""
    over = {kind: [c.value - c.limit for c in conditions if c.kind == kind] for kind in ("ability", "familiarity")}
    return max([0.0, *over["ability"]]), max([0.0, *over["familiarity"]])


def refuse_unmeasured(rule: StopRule, gold: bool, benchmarks: bool, heldout: bool) -> None:
    """BadInput where the rule limits what the job does not measure."""
    needs = (
        ("above_gold", rule.above_gold, gold, "a gold model (gold)"),
        ("accuracy_points", rule.accuracy_points, benchmarks, "benchmarks (evaluation.benchmarks)"),
        ("perplexity_percent", rule.perplexity_percent, heldout, "held-out text (evaluation.heldout)"),
    )
    for name, value, there, what in needs:
        if value is not None and not there:
            raise BadInput(f"stop.{name}: expected {what} to measure it by, found none in the job")
