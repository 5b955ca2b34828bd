"""The report's charts by name, drawn from its evidence."""

from typing import Any

from tasks.contents import Row
from tasks.drawing import charts, numbers

BY_STEP = {
    "familiarity": ("familiarity", "familiarity", "familiarity"),
    "ability": ("abilities", "abilities", "accuracy"),
    "perplexity": ("perplexity", "perplexity", "perplexity"),
    "judged": ("judged", "familiarity as judged", "score"),
}
"""By kind of measure: the chart's name, what it is about, its axis."""


def figures(evidence: Row) -> dict[str, str]:
    """Every chart that the evidence has numbers for, by name."""
    charted: dict[str, tuple[str, Any]] = {}
    for kind, (name, about, y) in BY_STEP.items():
        lines, gold = _by_step(evidence, kind)
        if lines:
            draw = charts.lines(lines, "unlearning step", y, gold)
            shares = kind in ("familiarity", "ability")
            charted[name] = (f"{about} by unlearning step", charts.shares(draw) if shares else draw)
    charted |= _of_labels(evidence) | _of_training(evidence)
    bars = {"reasons": evidence["positions"].get("reasons") or {}, "vertices": evidence["labels"]["vertices"]}
    heights = {name: 0.6 + 0.38 * len(rows) for name, rows in bars.items()}
    return {name: charts.svg(name, draw, text, heights.get(name, 3.1)) for name, (text, draw) in charted.items()}


def _by_step(evidence: Row, kind: str) -> tuple[list[charts.Line], dict[str, float]]:
    """A line a measure, the baseline at step 0, then every kept step; and gold's values by the names of the lines."""
    steps = {m["key"]: m["step"] or 0 for m in evidence["models"] if m["role"] in ("baseline", "student")}
    few = kind != "ability"  # the bands of seven benchmarks would hide each other
    drawn_lines, gold = list[charts.Line](), dict[str, float]()
    for measure in evidence["measures"]:
        graded = measure["metric"] == "familiarity_judged"  # no share: it has a chart of its own
        if ("judged" if graded else measure["kind"]) == kind:
            name = measure["name"].replace("familiarity, ", "by ")
            values = {value["subject"]: value for value in measure["values"]}
            points = [(steps[subject], value) for subject, value in values.items() if subject in steps]
            drawn_lines += [charts.line(name, points, interval=few)] if points else []
            if "gold" in values and not graded:
                gold[name] = values["gold"]["value"]
    return drawn_lines, gold


def _of_labels(evidence: Row) -> dict[str, tuple[str, Any]]:
    facts, reasons = evidence["labels"], evidence["positions"].get("reasons") or {}
    charted: dict[str, tuple[str, Any]] = {}
    if reasons:
        total = evidence["positions"]["positions"]
        bars = [
            (reason, n, f"{numbers.count(n)}  ({numbers.percent(n / total, 2)})")
            for reason, n in sorted(reasons.items(), key=lambda item: -item[1])
        ]
        charted["reasons"] = ("why positions did not train", charts.bars(bars))
    if facts["vertices"]:
        counts = {str(row["vertices"]): row["positions"] for row in facts["vertices"]}
        bars = [(name, n, numbers.percent(n / sum(counts.values()), 2)) for name, n in counts.items()]
        charted["vertices"] = ("labels a position has over all alpha", charts.bars(bars))
    if facts["agreement"] and facts["differ_by_alpha"]:
        lines: list[charts.Line] = [
            ("the label is the one at the chosen alpha", *_shares(facts["agreement"], "agree"), None, None),
            ("the label is not the token that the text has", *_shares(facts["differ_by_alpha"], "differ"), None, None),
        ]
        charted["alpha"] = ("labels by alpha", charts.shares(charts.by_alpha(lines, evidence["alpha"]), 1.03))
    return charted


def _shares(rows: list[Row], name: str) -> tuple[list[float], list[float]]:
    return [row["alpha"] for row in rows], [row[name] / row["positions"] for row in rows]


def _of_training(evidence: Row) -> dict[str, tuple[str, Any]]:
    charted: dict[str, tuple[str, Any]] = {}
    for kind, facts in evidence["training"].items():
        points = [point for point in facts["losses"] if point["loss"] is not None]
        if points:
            line = (kind, [point["step"] for point in points], [point["loss"] for point in points], None, None)
            charted[f"loss-{kind}"] = (f"training loss of {kind}", charts.lines([line], "step", "loss, nats a token"))
    return charted
