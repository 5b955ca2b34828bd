"""Options that several commands share, and how they answer: a text for people, or JSON on standard output."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_ROOT = "nepenthe-workspace"
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")]
JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.SETTING=VALUE", help="Change a setting; may be repeated."),
]


@dataclass(kw_only=True)
class Printed:
    """How a command answers."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    def answer(self, value: Any, shown: Callable[[Any], str] = str) -> None:
        """Print a value: as JSON, or as `shown` puts it for a person."""
        print(json.dumps(value, indent=1, ensure_ascii=False, default=str) if self.as_json else shown(value))


@dataclass(kw_only=True)
class Options(Printed):
    """What every command on a workspace takes."""

    root: Annotated[str, typer.Option(envvar="NEPENTHE_ROOT", help="Workspace: artifacts and tables.")] = DEFAULT_ROOT


@dataclass(kw_only=True)
class RunOptions(Options):
    """What every command takes that runs a flow."""

    wait: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait for what another run is making; by default as long as it takes."),
    ] = None

    @property
    def place(self) -> dict[str, Any]:
        """Arguments of the flow."""
        return {"root": self.root, "wait": self.wait}


def command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make it one of the app's commands. Where a parameter is a dataclass, its fields are the command's options."""
    own = dict(inspect.signature(function, eval_str=True).parameters)
    groups: dict[str, Any] = {key: own.pop(key).annotation for key in [*own] if is_dataclass(own[key].annotation)}
    shared = [parameter for group in groups.values() for parameter in inspect.signature(group).parameters.values()]

    @wraps(function)
    def run(**values: Any) -> None:
        built = {name: group(**{f.name: values.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        function(**values, **built)

    asked = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*own.values(), *shared)]
    run.__dict__["__signature__"] = inspect.Signature(asked)
    app.command(name)(run)


def rows_as_text(names: list[str], rows: list[tuple[Any, ...]], widest: int = 80) -> str:
    cells = [names, *([_cell(value, widest) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cell(value: Any, widest: int) -> str:
    text = "" if value is None else " ".join(str(value).splitlines())  # a row is a line
    return text if len(text) <= widest else text[: widest - 1] + "\u2026"
