"""Published suites on the command line: `audit --suite` and `init`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Printed, RunOptions, rows_as_text
from storage.errors import BadInput


@dataclass(kw_only=True)
class SuiteOptions:
    """What `audit` takes for a published suite."""

    suite: Annotated[str, typer.Option(help="Instead: tofu, muse-books, muse-news or rwku, as published.")] = ""
    data: Annotated[str, typer.Option(help="With --suite: folder with its data set.")] = ""
    reference: Annotated[
        str, typer.Option(help="With --suite: a retrained model's TOFU_EVAL.json or MUSE_EVAL.json.")
    ] = ""
    out: Annotated[str, typer.Option(help="With --suite: folder for the two logs.")] = ""
    part: Annotated[
        str, typer.Option(help="With --suite: forget01, forget05, forget10 of TOFU; a subject of RWKU.")
    ] = ""
    limit: Annotated[int, typer.Option(min=0, help="With --suite: first rows of each table; 0: all.")] = 100

    def request(self, model: str, changes: list[str], root: str) -> Any:
        """The SuiteRequest. Raises BadInput for what could not be asked."""
        from flows.environment import writable_workspace
        from flows.job import set_value
        from flows.suite import SuiteRequest, resolve_suite

        values: dict[str, Any] = asdict(self)
        values["settings"] = {name: values.pop(name) for name in ("part", "limit")}
        for change in changes:
            set_value(values, change)
        asked = SuiteRequest(model=model, **values)
        resolve_suite(asked, writable_workspace(root).hashes)
        return asked


JOB = """\
# {title}: the suite's own text to forget, to keep, and to measure on
name = "{suite}"
model = "{model}"
preset = "durable"
corpus.paths = [{forget}]
corpus.text_column = "text"
dictionary.extract = "statistics"
retain.paths = [{retain}]
retain.text_column = "text"
evaluation.heldout = [{holdout}]
evaluation.text_column = "text"
audit.nonmembers = [{holdout}]
"""


def ask_suite(asked: Any, options: RunOptions) -> None:
    """Ask what a SuiteRequest asks, and show its summary."""
    from flows.suite import suite as flow
    from tasks.contents import read_json

    paths = flow(asked, **options.place)
    options.answer(paths | {"summary_values": read_json(Path(paths["summary"]))}, _table)


def _table(shown: dict[str, Any]) -> str:
    rows = [(name, f"{value:.4g}") for name, value in shown["summary_values"].items()]
    return f"\n{rows_as_text(['measure', 'value'], rows)}\n\neval     {shown['eval']}\nsummary  {shown['summary']}"


def init(
    options: Printed,
    suite: Annotated[str, typer.Argument(help="muse-books or muse-news.")],
    data: Annotated[Path, typer.Option(help="Folder with its data set as published.")],
    model: Annotated[str, typer.Option(help="The model that shall forget: a directory, or owner/name on the hub.")],
    job: Annotated[Path, typer.Option(help="The job file to write.")] = Path("job.toml"),
) -> None:
    """Write a job that unlearns the forget set of a published suite."""
    if job.exists():
        raise BadInput(f"--job: expected a new file, found {job}: name another")
    if suite not in ("muse-books", "muse-news"):
        raise BadInput(f"expected muse-books or muse-news, whose forget sets are texts, found {suite}")
    tables = {name: _files(data, name) for name in ("forget", "retain1", "holdout")}
    quoted = {name: ", ".join(f'"{path.absolute()}"' for path in paths) for name, paths in tables.items()}
    filled = {"forget": quoted["forget"], "retain": quoted["retain1"], "holdout": quoted["holdout"]}
    job.write_text(JOB.format(title=suite.upper(), suite=suite, model=model, **filled), encoding="utf-8")
    options.answer({"job": str(job)}, lambda shown: f"{shown['job']}: nepenthe plan {shown['job']}")


def _files(data: Path, split: str) -> list[Path]:
    paths = sorted(data.glob(f"raw/{split}-*.parquet")) or sorted(data.glob(f"raw/{split}.*"))
    if not paths:
        raise BadInput(f"--data: expected the configuration raw with its split {split} in {data}, found none")
    return paths
