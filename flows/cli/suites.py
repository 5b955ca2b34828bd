"""Published suites on the command line: `audit --suite` and `init`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Options, RunOptions, rows_as_text
from storage.errors import BadInput

DATA = "Folder with the suite's data set, or owner/name[@revision] on the hub; by default the published one there."
PART = "forget01, forget05, forget10 of TOFU; a subject of RWKU."


@dataclass(kw_only=True)
class SuiteOptions:
    """What `audit` takes for a published suite."""

    suite: Annotated[str, typer.Option(help="Instead: tofu, muse-books, muse-news or rwku, as published.")] = ""
    data: Annotated[str, typer.Option(help=f"With --suite: {DATA}")] = ""
    reference: Annotated[
        str, typer.Option(help="With --suite: a retrained model's TOFU_EVAL.json or MUSE_EVAL.json.")
    ] = ""
    out: Annotated[str, typer.Option(help="With --suite: folder for the two logs.")] = ""
    part: Annotated[str, typer.Option(help=f"With --suite: {PART}")] = ""
    limit: Annotated[int, typer.Option(min=0, help="With --suite: first rows of each table; 0: all.")] = 100

    def refuse_alone(self) -> None:
        """Raise BadInput for what goes with a suite, where none is asked."""
        if given := [f"--{name}" for name in ("data", "reference", "out", "part") if getattr(self, name)]:
            raise BadInput(f"expected --suite with {', '.join(given)}, found none: add --suite, or leave them out")

    def request(self, model: str, changes: list[str], root: str) -> Any:
        """The SuiteRequest. Raises BadInput for what could not be asked."""
        from flows.environment import writable_workspace
        from flows.job import set_values, settings_refused
        from flows.suite import SuiteRequest, resolve_suite

        if not model:
            raise BadInput("expected MODEL, a directory or owner/name on the hub, to ask the suite of, found none")
        values: dict[str, Any] = asdict(self)
        values["settings"] = {name: values.pop(name) for name in ("part", "limit")}
        set_values(values, changes)
        with settings_refused():
            asked = SuiteRequest(model=model, **values)
        resolve_suite(asked, writable_workspace(root).hashes)
        return asked


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
    options: Options,
    suite: Annotated[str, typer.Argument(help="tofu, muse-books, muse-news or rwku.")],
    model: Annotated[str, typer.Option(help="The model that shall forget: a directory, or owner/name on the hub.")],
    data: Annotated[str, typer.Option(help=DATA)] = "",
    part: Annotated[str, typer.Option(help=PART)] = "",
    job: Annotated[Path, typer.Option(help="The job file to write.")] = Path("job.toml"),
) -> None:
    """Write a job that unlearns the forget set of a published suite."""
    from flows.environment import writable_workspace
    from tasks.suites.common import SuiteSettings, rows_of
    from tasks.suites.files import find_tables, names_in_job
    from tasks.suites.stage import suite_named

    forget = job.with_name(f"{job.stem}-forget.jsonl")
    for file in (job, forget):
        if file.exists():
            raise BadInput(f"--job: expected a new file, found {file}: name another")
    if not Path(model).is_dir() and "/" not in model:
        raise BadInput(f"--model: expected a directory, or owner/name on the hub, found no {model}")
    published, settings = suite_named(suite), SuiteSettings(part=part, limit=0)
    tables = published.texts(settings)
    files = find_tables(data or published.published, tables, writable_workspace(options.root).hashes)
    rows = rows_of(tables, files, settings)
    paths = {name: names_in_job(table) for name, table in files.items()}
    if part and "subject" in tables["forget"].columns and "forget" in rows:
        chosen = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows["forget"])
        forget.write_text(chosen, encoding="utf-8")
        paths["forget"] = [forget.name]
    values: dict[str, Any] = {"name": suite, "model": str(Path(model).absolute()) if Path(model).is_dir() else model}
    values |= _texts(paths, part, "answer" in tables["forget"].columns)
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items()]
    job.write_text("".join(lines), encoding="utf-8")
    options.answer({"job": str(job)}, lambda shown: f"{shown['job']}: nepenthe plan {shown['job']}")


def _texts(paths: dict[str, list[str]], part: str, answers: bool) -> dict[str, Any]:
    """The settings that name a suite's texts, or its subject where it has no text to forget."""
    if "forget" not in paths and not part:
        raise BadInput("--part: expected the subject to forget, as the data set has no texts to forget, found none")
    values: dict[str, Any] = {"preset": "durable", "dictionary.extract": "statistics"}
    values |= {"corpus.paths": paths["forget"]} if "forget" in paths else {"corpus.elicit.subject": part}
    values |= {"corpus.train_on": "answers"} if answers else {}
    values |= {"retain.paths": paths["retain"]} if "retain" in paths else {}
    holdout = paths.get("holdout")
    return values | ({"evaluation.heldout": holdout, "audit.nonmembers": holdout} if holdout else {})
