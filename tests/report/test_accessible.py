"""Who reads with a screen reader or with weak eyes: order of headings, and contrast of every text in every palette.

The page's own HTML and CSS are read, with as much of the cascade as they use: selectors of tags, classes and ancestors,
`color` and `background`, variables by palette.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.contents import ABLATION_PAGE, AUDIT_PAGE
from tasks.report.evidence import ReportInputs
from tasks.report.stage import drawn

AA = 4.5
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
Rule = tuple[tuple[int, int, int], list[str], dict[str, str]]


def palettes(css: str) -> dict[str, dict[str, str]]:
    """Variables in light, dark and print, each on top of light."""
    blocks = [dict(re.findall(r"(--[\w-]+): (#\w+)", body)) for head, body in RULE.findall(css) if ":root" in head]
    return {name: blocks[0] | block for name, block in zip(("light", "dark", "print"), blocks, strict=True)}


def rules_of(css: str) -> list[Rule]:
    """(weight, parts of the selector, declarations) of what colours text on a screen."""
    rules = []
    for order, (heads, body) in enumerate(RULE.findall(css.partition("@media print")[0])):
        declared = dict(re.findall(r"(?:^|[ ;])(color|background): ([^;]+)", body))
        for head in heads.split(","):
            if declared and ":" not in head:
                weight = (head.count("."), len(re.findall(r"(?:^|[ >])\w", head.strip())), order)
                rules.append((weight, head.replace(">", " ").split(), declared))
    return sorted(rules, key=lambda rule: rule[0])


class Painted(HTMLParser):
    """Of every element with text of its own: its path, the colour of its text, what it stands on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rules = rules_of(text.partition("<style>")[2].partition("</style>")[0])
        self.path: list[tuple[str, set[str]]] = []
        self.paints = [("var(--ink)", "var(--paper)")]
        self.headings: list[int] = []
        self.seen: dict[tuple[str, str], str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.headings += [int(tag[1])] if re.fullmatch(r"h[1-6]", tag) else []
        if tag in ("meta", "link", "br", "img", "input", "hr", "path", "use"):
            return
        self.path.append((tag, set((known.get("class") or "").split())))
        colour, back = self.paints[-1]
        for _, parts, declared in self.rules:
            if self._matches(parts):
                colour = declared.get("color", colour) if declared.get("color") != "inherit" else self.paints[-1][0]
                back = declared.get("background", back)
        fill = re.search(r"fill: (var\([\w-]+\))", known.get("style") or "")
        self.paints.append((fill[1] if fill and tag in ("g", "text") else colour, back))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """An element without text."""

    def handle_endtag(self, tag: str) -> None:
        self.path.pop()
        self.paints.pop()

    def handle_data(self, data: str) -> None:
        if data.strip() and self.path[-1][0] not in ("style", "title"):
            self.seen.setdefault(self.paints[-1], f"{self.path[-1]}: {data.strip()[:40]}")

    def _matches(self, parts: list[str]) -> bool:
        """Whether the last part is the innermost element, and those before it stand around it in this order."""
        around = iter(reversed(self.path))
        innermost = next(around)
        first, *others = reversed(parts)
        return _is(innermost, first) and all(any(_is(element, part) for element in around) for part in others)


def _is(element: tuple[str, set[str]], part: str) -> bool:
    tag, *classes = part.split(".")
    return tag in ("", "*", element[0]) and set(classes) <= element[1]


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def too_faint(text: str) -> Iterator[str]:
    """What lies below AA for text, in words."""
    for name, colours in palettes(text.partition("<style>")[2].partition("</style>")[0]).items():
        tones = {
            (f"var(--{tone})", f"var(--{tone}-back)"): "a verdict" for tone in ("good", "partly", "bad", "unknown")
        }
        known = tones if "--bad" in colours else {}
        for (colour, back), where in (known | Painted(text).seen).items():
            ratio = contrast(colours[colour[4:-1]], colours[back[4:-1]])
            if ratio < AA:
                yield f"{name}: {colour} on {back} has {ratio:.2f}, at {where}"


def test_contrast_is_that_of_the_standard_s_examples() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005)


def test_faint_text_and_skipped_levels_are_seen() -> None:
    css = ":root { --ink: #000; --paper: #fff; --soft: #999; } .soft { color: var(--soft); }"
    css += "@media (x) { :root { --paper: #111; --ink: #eee; } } @media print { :root { --soft: #444; } }"
    page = f"<style>{css}</style><h1>a</h1><h3><b class='soft'>b</b></h3>"
    assert [line[:31] for line in too_faint(page)] == ["light: var(--soft) on var(--pap"]
    assert Painted(page).headings == [1, 3]


def test_headings_are_in_order_and_every_text_can_be_read(
    made_up_run: tuple[Workspace, ReportInputs], audited: Artifact, made_up_ablation: Artifact
) -> None:
    workspace, made = made_up_run
    alone: list[Path] = [workspace.path(audited) / AUDIT_PAGE, workspace.path(made_up_ablation) / ABLATION_PAGE]
    pages = [drawn(workspace, replace(made, audit=audited, ablation=made_up_ablation))[1], drawn(workspace, made)[1]]
    for text in (*pages, *(page.read_text(encoding="utf-8") for page in alone)):
        headings = Painted(text).headings
        assert headings.count(1) == 1
        assert headings[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(headings)), headings
        assert list(too_faint(text)) == []
        assert len(Painted(text).seen) > 2
