"""Reinforcement alone, anchors alone, both, in numbers at the same steps.

"Needed" is a rule: a part is needed if, without it, the model still shows more of the text, beyond chance, in one
measure at least, and less in none. It speaks about forgetting only; the abilities stand beside it in the table.
"""

from collections.abc import Sequence
from pathlib import Path

from storage.reader import Row, reader
from tasks.drawing.numbers import fixed
from tasks.measure.intervals import Change
from tasks.measure.results import Measure, Subject, key_of, measured, value_row

BOTH, REINFORCEMENT, ANCHORS = "both", "reinforcement only", "anchors only"
ROLES = {BOTH: "student", REINFORCEMENT: REINFORCEMENT, ANCHORS: ANCHORS}
"""The role under which an arm is evaluated. Both parts are the job's own student, so its evaluations are shared."""

WITHOUT = {REINFORCEMENT: "anchored terms", ANCHORS: "reinforcement bootstrapping"}
"""What an arm leaves out."""


def compare_arms(folders: Sequence[tuple[str, Path]]) -> Row:
    """{steps, measures, verdicts, headline}; a measure is {name, kind, baseline, gold, arms: {arm: {step: value}}}."""

    def against(model: Subject) -> tuple[str, ...]:
        return "baseline", key_of(ROLES[BOTH], model.step)

    with reader() as connection:
        models, measures = measured(connection, folders, against)
    steps = sorted({model.step for model in models if model.step is not None})
    verdicts = [verdict(measures, arm, steps[-1]) for arm in (REINFORCEMENT, ANCHORS)]
    return {
        "steps": steps,
        "measures": [_by_arm(measure, steps) for measure in measures],
        "verdicts": verdicts,
        "headline": _headline(verdicts),
    }


def verdict(measures: Sequence[Measure], arm: str, step: int) -> Row:
    """{arm, without, needed, sentences}: whether the part that this arm leaves out is needed; None for undecided."""
    both, alone = key_of(ROLES[BOTH], step), key_of(ROLES[arm], step)
    changes = [(m, m.changes.get((alone, both))) for m in measures if m.kind == "familiarity"]
    known = [(measure, change) for measure, change in changes if change]
    more, less = any(c.low > 0 for _, c in known), any(c.high < 0 for _, c in known)
    needed = None if more == less else more
    sentences = [_sentence(measure, change, alone, both) for measure, change in known]
    return {"arm": arm, "without": WITHOUT[arm], "needed": needed, "step": step, "sentences": sentences}


def _sentence(measure: Measure, change: Change, alone: str, both: str) -> str:
    mine, theirs = measure.values[alone], measure.values[both]
    word = "more" if change.low > 0 else "less" if change.high < 0 else "no difference beyond chance"
    values = f"{fixed(mine.value)} against {fixed(theirs.value)} with both"
    interval = f"95 % interval of the difference {fixed(change.low)} to {fixed(change.high)}"
    return f"{measure.name}: {values}: {word} ({interval})."


def _headline(verdicts: Sequence[Row]) -> str:
    needed = [verdict["needed"] for verdict in verdicts]
    if all(needed):
        return "Both parts are needed: without either, the model still shows more of the text."
    if not any(needed):
        return "That both parts are needed is not shown here: neither part alone leaves more of the text beyond chance."
    (part,) = [verdict["without"] for verdict in verdicts if verdict["needed"]]
    (other,) = [verdict["without"] for verdict in verdicts if not verdict["needed"]]
    return (
        f"That both parts are needed is not shown here: {part} are needed, but without {other} "
        "the model does not show more of the text beyond chance."
    ).replace("bootstrapping are", "bootstrapping is")


def _by_arm(measure: Measure, steps: Sequence[int]) -> Row:
    def row(key: str) -> Row | None:
        value = measure.values.get(key)
        return value_row(key, value) if value else None

    arms = {
        arm: {str(step): known for step in steps if (known := row(key_of(role, step)))} for arm, role in ROLES.items()
    }
    names = {"name": measure.name, "kind": measure.kind, "metric": measure.metric, "task": measure.task}
    return names | {"arms": arms, "baseline": row("baseline"), "gold": row("gold")}
