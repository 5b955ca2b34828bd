"""Options that several commands share, and how they answer: a text for people, or JSON on standard output."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_ROOT = "nepenthe-workspace"
Root = Annotated[str, typer.Option(envvar="NEPENTHE_ROOT", help="Workspace: artifacts and tables.", show_default=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")]
JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.SETTING=VALUE", help="Change a setting; may be repeated."),
]
Wait = Annotated[
    float | None,
    typer.Option(help="Seconds to wait for what another run is making; by default as long as it takes."),
]


def answer(value: Any, as_json: bool, shown: Callable[[Any], str] = str) -> None:
    """Print a value: as JSON, or as `shown` puts it for a person."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str) if as_json else shown(value))


def rows_as_text(names: list[str], rows: list[tuple[Any, ...]], widest: int = 80) -> str:
    """Rows as text in columns."""
    cells = [names, *([_cell(value, widest) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cell(value: Any, widest: int) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= widest else text[: widest - 1] + "\u2026"
