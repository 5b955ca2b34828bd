"""What the model forgot, by all that says so: familiarity in the evaluations, and what the audit found it to hold.

The audit's extraction strength and probability are judged by the same rule as familiarity, where gold was audited too:
without it nobody knows how probable the text's own words are to a model that never read them.
"""

from collections.abc import Sequence

from storage.reader import Row
from tasks.audit.verdicts import HELD
from tasks.measure.intervals import Change, Value
from tasks.measure.results import Measure, Subject
from tasks.report import verdicts


def forgetting(measures: Sequence[Measure], student: Subject | None, audit: Row | None) -> tuple[str, list[Row]]:
    """(headline, verdicts as rows); a verdict on a measure of the audit leads to the audit's section."""
    if student is None:
        return verdicts.headline_of_forgetting([]), []
    shown = verdicts.forgotten(measures, student)
    held = verdicts.forgotten(held_measures(audit, student.key) if audit else [], student)
    rows = [verdict.row("name") for verdict in shown] + [verdict.row("name") | {"anchor": "audit"} for verdict in held]
    numbers = audit.get("held", "") if audit else ""
    return f"{verdicts.headline_of_forgetting([*shown, *held])} {numbers}".rstrip(), rows


def held_measures(audit: Row, student: str) -> list[Measure]:
    """Extraction strength and probability of passages of the target, with the audited model under the student's key."""
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
