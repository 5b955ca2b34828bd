"""The ablation's charts, for a page of its own and a section of the report."""

from typing import Any

from tasks.contents import Row
from tasks.drawing import charts


def figures(comparison: Row) -> list[tuple[Any, str]]:
    """(chart, caption) of every measure of familiarity, and of perplexity: a line an arm."""
    charted = []
    for number, measure in enumerate(comparison["measures"]):
        if measure["kind"] not in ("familiarity", "perplexity"):
            continue
        lines = [_line(arm, measure, values) for arm, values in measure["arms"].items() if values]
        chart = charts.lines(lines, "unlearning step", measure["name"])
        if measure["kind"] == "familiarity" and measure["metric"] != "familiarity_judged":
            chart = charts.shares(chart)
        caption = f"{measure['name']} by unlearning step, with 95 % intervals."
        charted.append((charts.svg(f"ablation-{number}", chart, caption), caption[0].upper() + caption[1:]))
    return charted


def _line(arm: str, measure: Row, values: Row) -> charts.Line:
    points = [(0, measure["baseline"])] if measure["baseline"] else []
    points += [(int(step), value) for step, value in values.items()]
    return charts.line(arm, points)
