"""Charts as inline SVG in the page's own colours: drawn once, readable in light, dark and print.

matplotlib writes colours as numbers; the ones below stand for CSS variables and are swapped for them in the SVG, so
that the page's style decides. Text stays text.
"""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.drawing.numbers import percent

INK, SOFT, GRID = "#010101", "#010102", "#010103"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 9))
MARKERS = "osD^vPX*"
VARIABLES = {INK: "--ink", SOFT: "--soft", GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
WIDTH = 5.4
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nepenthe",
    "text.parse_math": False,  # a name is text, whatever signs are in it
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}

Line = tuple[str, Sequence[float], Sequence[float], Sequence[float] | None, Sequence[float] | None]
"""(name, x, y, low, high): low and high are None where there is no interval."""


def line(name: str, points: Sequence[tuple[float, dict[str, float]]], interval: bool = True) -> Line:
    """A line of points (x, {value, low, high}), with their intervals or without."""
    y, low, high = ([value[column] for _, value in points] for column in ("value", "low", "high"))
    return name, [x for x, _ in points], y, low if interval else None, high if interval else None


def svg(name: str, draw: Callable[[Axes], None], description: str, height: float = 3.1) -> Markup:
    """The SVG element of one chart, `height` inches high. `name` makes its ids unique on the page.

    The description is for who cannot see it.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    label = f'role="img" aria-label="{escape(description)}"'
    return Markup(_inline(text.getvalue(), name).replace('role="img"', label, 1))


def lines(series: Sequence[Line], x: str, y: str, levels: dict[str, float] | None = None) -> Callable[[Axes], None]:
    """Lines with their intervals; `levels` are dashed horizontal lines (gold) in the colour of the line so named."""

    def draw(axes: Axes) -> None:
        for number, (name, xs, ys, lows, highs) in enumerate(series):
            colour = SERIES[number % len(SERIES)]
            marker = MARKERS[number % len(MARKERS)] if len(xs) <= 30 else ""
            # matplotlib leaves names that begin with an underscore out of the legend
            axes.plot(xs, ys, color=colour, marker=marker, label=name.replace("_", "\u200b_", 1))
            if lows is not None and highs is not None:
                aside = (max(xs) - min(xs)) * 0.008 * number  # so that the bars of two lines do not hide each other
                axes.vlines([place + aside for place in xs], lows, highs, color=colour, alpha=0.6, linewidth=1.4)
            if levels and name in levels:
                axes.axhline(levels[name], color=colour, linestyle=(0, (4, 3)), linewidth=1.2)
        if levels:
            axes.plot([], [], color=SOFT, linestyle=(0, (4, 3)), linewidth=1.2, label="gold, never read the text")
        axes.set(xlabel=x, ylabel=y)
        places = sorted({place for line in series for place in line[1]})
        if len(places) <= 10:
            axes.set_xticks(places)  # the steps that were measured, and no others
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.margins(x=0.03)
        if len(series) > 1 or levels:
            long = any(len(line[0]) > 24 for line in series)
            axes.figure.legend(loc="outside lower left", ncols=1 if long else 2)

    return draw


def shares(axes_values: Callable[[Axes], None], top_of: float | None = None) -> Callable[[Axes], None]:
    """The same chart with percent on its y axis, from 0."""

    def draw(axes: Axes) -> None:
        axes_values(axes)
        top = top_of or axes.get_ylim()[1]
        axes.set_ylim(-0.02 * top, top)  # a marker at 0 is seen whole
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))

    return draw


def by_alpha(series: Sequence[Line], chosen: float) -> Callable[[Axes], None]:
    """Lines over alpha, which is spread like a logarithm but reaches 0; a dotted line marks the chosen one."""

    def draw(axes: Axes) -> None:
        lines(series, "alpha", "share of labels")(axes)
        axes.set_xscale("symlog", linthresh=0.5, linscale=0.5)
        marks = [0, 0.5, 1, 2, 5, 10, 20, 50]
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.axvline(chosen, color=SOFT, linestyle=":", linewidth=1.2)

    return draw


def bars(rows: Sequence[tuple[str, float, str]]) -> Callable[[Axes], None]:
    """Horizontal bars (name, value, label), the first on top, each with its label at its end."""

    def draw(axes: Axes) -> None:
        names, values, labels = zip(*rows, strict=True)
        axes.barh(range(len(rows)), values, color=SERIES[0], height=0.62)
        _name_bars(axes, names, ("bottom", "left"))
        most = max(values) or 1
        for place, (value, label) in enumerate(zip(values, labels, strict=True)):
            axes.text(value + most * 0.015, place, label, va="center", fontsize=9)
        axes.set_xlim(0, most * 1.3)

    return draw


def groups(names: Sequence[str], series: Sequence[tuple[str, Sequence[float | None]]]) -> Callable[[Axes], None]:
    """Horizontal bars side by side, a group a name and a colour a series; shares, with their numbers in percent."""

    def draw(axes: Axes) -> None:
        thick = 0.8 / len(series)
        for number, (title, values) in enumerate(series):
            places = [place + (number - (len(series) - 1) / 2) * thick for place in range(len(names))]
            axes.barh(places, [value or 0 for value in values], color=SERIES[number], height=0.86 * thick, label=title)
            for place, value in zip(places, values, strict=True):
                if value is not None:
                    axes.text(value + 0.012, place, percent(value), va="center", fontsize=9)
        _name_bars(axes, names, ("bottom",))
        axes.set_xlim(0, 1.15)
        axes.figure.legend(loc="outside lower left", ncols=len(series))

    return draw


def _name_bars(axes: Axes, names: Sequence[str], hidden: Sequence[str]) -> None:
    """Names in place of a scale, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[list(hidden)].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks([])


def _inline(text: str, name: str) -> str:
    """Only the svg element: own ids, page colours, no fixed size, nothing that looks like an address."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg role="img"', text)
    return re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", text).strip()
