"""Commands that need no engine: sql, report, export, evidence, rephrase."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Options, Printed, rows_as_text
from storage.errors import BadInput, DamagedArtifact
from storage.opening import open_workspace
from storage.workspace import Workspace

COLUMNS = (
    "SELECT table_name AS 'table', column_name AS 'column', data_type AS type, comment "
    "FROM duckdb_columns() WHERE NOT internal AND database_name <> 'temp' ORDER BY table_name, column_index"
)


def sql(
    options: Options,
    query: Annotated[str, typer.Argument(help="A query; without one, the tables and their columns.")] = COLUMNS,
) -> None:
    """Query the tables of a workspace, read-only, also while a run goes on."""
    names, rows = run_query(open_workspace(options.root), query or COLUMNS)
    options.answer([dict(zip(names, row, strict=True)) for row in rows], lambda _: rows_as_text(names, rows))


def run_query(workspace: Workspace, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows. Raises BadInput with DuckDB's words for a query that it refuses, and for closed tables."""
    import duckdb

    from storage.tables import in_tables

    def ask(tables: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
        result = tables.execute(query)
        return [column[0] for column in result.description or []], result.fetchall()

    try:
        return in_tables(workspace, ask, write=False)
    except duckdb.Error as error:
        if ".parquet" in str(error) and ".parquet" not in query:
            sentence = (
                f"expected whole shards in {workspace.root}, found: {error}; `nepenthe verify --repair` mends them"
            )
            raise DamagedArtifact(sentence) from error
        if str(workspace.database) in str(error):
            sentence = f"expected tables that you may read, found: {error}; query a copy of the workspace that is yours"
            raise BadInput(sentence) from error
        raise BadInput(f"expected a query that DuckDB understands, found: {error}") from error


def report(
    options: Options,
    run: Annotated[str, typer.Argument(help="Name of a job, or the fingerprint of its report.")] = "",
) -> None:
    """Make the report of a run again, from its artifacts, and print where it lies."""
    from flows.cli.reports import report_again

    options.answer({"report": str(report_again(open_workspace(options.root), run))}, lambda shown: shown["report"])


def export(
    options: Options,
    run: Annotated[str, typer.Argument(help="Name of a job, or the fingerprint of its report.")],
    folder: Annotated[Path, typer.Argument(help="New folder for the model.")],
    base_model: Annotated[
        str | None, typer.Option(help="The baseline's name on the hub, owner/name; by default that of the job.")
    ] = None,
    license: Annotated[str | None, typer.Option(help="Licence, as the hub spells it.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16 by stochastic rounding.")] = "float32",
    seed: Annotated[int, typer.Option(min=0, help="Of the rounding.")] = 0,
) -> None:
    """Copy the chosen model to a folder, with a model card and the record, ready to be published."""
    from flows.cli.reports import report_of
    from tasks.report.card import Hub
    from tasks.report.export import Form
    from tasks.report.export import export as export_to

    workspace = open_workspace(options.root)
    places = export_to(workspace, report_of(workspace, run), folder, Hub(base_model, license), Form(dtype, seed))
    options.answer(places, lambda shown: "\n".join(shown.values()))


def evidence(
    options: Options,
    run: Annotated[str, typer.Argument(help="Name of a job, or its file JOB.toml, which also says who asked.")],
    folder: Annotated[Path, typer.Argument(help="New folder for document, facts and letter.")],
    letter: Annotated[Path | None, typer.Option(help="A template of your own for the letter (Jinja).")] = None,
) -> None:
    """Write what can be handed over about a run: a document, its facts as JSON, a letter; the text by hashes alone."""
    from flows.cli.reports import report_of
    from flows.job import read_job
    from tasks.report.filing import file_evidence
    from tasks.report.request import RequestSettings

    workspace, request = open_workspace(options.root), RequestSettings()
    if run.endswith(".toml"):
        job = read_job(Path(run), [])
        run, request = job.name, job.request
    places = file_evidence(workspace, report_of(workspace, run), request, folder, letter)
    options.answer(places, lambda shown: "\n".join(shown.values()))


def rephrase(
    options: Printed,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS.json", help="As audit.forms; forms are added.")],
    model: Annotated[str, typer.Option(help="Name of the language model, as the endpoint knows it.")],
    endpoint: Annotated[str, typer.Option(help="Address of an OpenAI-compatible endpoint; by default OpenAI's.")] = "",
    key_variable: Annotated[str, typer.Option(help="NAME of the environment variable with its key.")] = "",
    ways: Annotated[int, typer.Option(min=0, help="Forms in other words, of each question.")] = 2,
    language: Annotated[list[str] | None, typer.Option(help="And one in this language; may be repeated.")] = None,
) -> None:
    """Ask a language model for questions in other words and languages, to be looked over before they are used."""
    from tasks.audit.rephrasing import Wanted
    from tasks.audit.rephrasing import rephrase as add_forms
    from tasks.llm.settings import Endpoint

    given = {"base_url": endpoint, "key_variable": key_variable}
    where = Endpoint.model_validate({name: value for name, value in given.items() if value})
    added = add_forms(questions, Wanted(model=model, ways=ways, languages=tuple(language or ())), where)
    options.answer({"added": added}, lambda _: f"{added} forms added to {questions}: look them over")
