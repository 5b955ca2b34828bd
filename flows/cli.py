"""The command line. Bad input is one sentence on standard error and exit code 2; `--json` owns standard output.

Heavy imports stay inside the commands: `nepenthe sql` must not wait two seconds for Prefect.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.dictionary_commands import commands as dictionary_commands
from flows.guard import guard_run
from storage.errors import NepentheError
from storage.workspace import Workspace

app = typer.Typer(
    help="Make a language model forget a body of text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(dictionary_commands, name="dictionary")

Root = Annotated[str, typer.Option(envvar="NEPENTHE_ROOT", help="Workspace: artifacts and tables.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobFile = Annotated[Path, typer.Argument(metavar="JOB.toml", help="The job.")]
Changes = Annotated[
    list[str],
    typer.Option("--set", metavar="SECTION.SETTING=VALUE", help="Change a setting; may be repeated."),
]
Wait = Annotated[
    float | None,
    typer.Option(help="Seconds to wait for what another run is making; by default as long as it takes."),
]
DEFAULT_ROOT = "nepenthe-workspace"


def main() -> None:
    """The console script."""
    quiet_engines()
    sys.exit(exit_code())


def exit_code() -> int:
    """Run the command: 0, 2 for what the user can put right, 1 for a bug of ours."""
    try:
        app(standalone_mode=True)
    except NepentheError as error:
        print(f"nepenthe: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        # Printed here and let go: a traceback that lives on until exit keeps DuckDB's objects, which then complain.
        traceback.print_exc()
        return 1
    return 0


def quiet_engines() -> None:
    """Telemetry off and Prefect's console quiet in whatever we start. What the environment already says stands."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # The embedded server's first start, with migrations, can take longer than Prefect's 20 seconds.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
    }.items():
        os.environ.setdefault(name, value)


@app.command()
def unlearn(
    job: JobFile,
    changes: Changes = [],
    root: Root = DEFAULT_ROOT,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Run a job. Run it again after a failure: it goes on from what is finished."""
    from flows.inputs import resolve
    from flows.job import read_job

    asked, workspace = read_job(job, changes), Workspace(root)
    resolve(asked, workspace.hashes)  # what the flow would refuse is refused before its engine starts
    start_engine(workspace, wait)
    from flows.unlearn import unlearn as flow

    show_outcome(flow(asked, root=root, wait=wait), workspace, as_json)


@app.command()
def plan(job: JobFile, changes: Changes = [], root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show what is cached, what will run, and what it will cost."""
    from flows.inputs import resolve
    from flows.job import read_job
    from flows.plan import cost, show_plan
    from flows.unlearn import plan as plan_of

    asked, workspace = read_job(job, changes), Workspace(root)
    inputs = resolve(asked, workspace.hashes)
    rows = cost(plan_of(asked, inputs, workspace), asked, inputs)
    print(json.dumps(rows, indent=1) if as_json else show_plan(rows))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="A query; without one, the tables and their columns.")] = "",
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Query the tables of a workspace, read-only, also while a run goes on."""
    from flows.query import columns_of_tables, run_query, show_rows

    names, rows = run_query(Workspace(root), query or columns_of_tables())
    if as_json:
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str, ensure_ascii=False))
    else:
        print(show_rows(names, rows))


@app.command()
def report(
    run: Annotated[str, typer.Argument(help="Name of a job, or the fingerprint of its report.")] = "",
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Make the report of a run again, from its artifacts, and print where it lies."""
    from flows.query import report_again

    page = str(report_again(Workspace(root), run))
    print(json.dumps({"report": page}) if as_json else page)


@app.command()
def purge(
    root: Root = DEFAULT_ROOT,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what holds the text to forget: corpus, blocks, logits, labels, reinforced model, items, reports."""
    from storage.tables import refresh

    workspace = Workspace(root)
    with workspace.writing():
        found = workspace.purge() if yes else workspace.protected()
        if yes:
            refresh(workspace)
    folders = [artifact.folder for artifact in found]
    words = "removed" if yes else "would be removed; add --yes to do it"
    print(
        json.dumps({"done": yes, "removed": folders}) if as_json else "\n".join([*folders, f"{len(folders)} {words}"])
    )


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Name of a job, or the fingerprint of its report.")],
    folder: Annotated[Path, typer.Argument(help="New folder for the model.")],
    base_model: Annotated[str | None, typer.Option(help="The baseline's name on the hub, owner/name.")] = None,
    license: Annotated[str | None, typer.Option(help="Licence, as the hub spells it.")] = None,
    root: Root = DEFAULT_ROOT,
    as_json: Json = False,
) -> None:
    """Copy the chosen model to a folder, with a model card and the record, ready to be published."""
    from flows.query import report_of
    from tasks.card import Hub
    from tasks.export import export as export_to

    workspace = Workspace(root)
    places = export_to(workspace, report_of(workspace, run), folder, Hub(base_model, license))
    print(json.dumps(places) if as_json else "\n".join(places.values()))


@app.command()
def verify(
    folder: Annotated[str, typer.Argument(help="An exported model; by default the whole workspace.")] = "",
    root: Root = DEFAULT_ROOT,
    repair: Annotated[bool, typer.Option("--repair", help="Take damage away; the next run makes it again.")] = False,
    as_json: Json = False,
) -> None:
    """Recompute the checksums of a workspace or an exported model. Exit code 2 where a byte is not the recorded one."""
    if folder:
        from tasks.export import verify_export

        files = verify_export(Path(folder))
        print(json.dumps({"verified": files}) if as_json else f"{files} files are as recorded")
        return
    workspace = Workspace(root)
    if repair:
        from storage.maintenance import repair as repair_in
        from storage.maintenance import show_repair

        found = repair_in(workspace)
        print(json.dumps(found) if as_json else show_repair(found))
        return
    artifacts = workspace.all()
    for artifact in artifacts:
        workspace.verify(artifact)
    print(json.dumps({"verified": len(artifacts)}) if as_json else f"{len(artifacts)} artifacts are as recorded")


@app.command()
def status(root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show a workspace: runs, what is being made and how far, failures, damage, room."""
    from flows.status import show_status
    from flows.status import status as status_of

    found = status_of(Workspace(root))
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else show_status(found))


@app.command()
def gc(
    root: Root = DEFAULT_ROOT,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")] = False,
    older_than: Annotated[float, typer.Option(metavar="DAYS", help="Younger artifacts stay.")] = 7,
    forget: Annotated[list[str], typer.Option(metavar="JOB", help="A job that is not needed any more.")] = [],
    as_json: Json = False,
) -> None:
    """Remove artifacts that no job's latest run refers to."""
    from storage.maintenance import gc as collect
    from storage.maintenance import show_gc

    found = collect(Workspace(root), yes=yes, forget_jobs=forget, older_than=older_than)
    print(json.dumps(found) if as_json else show_gc(found))


@app.command()
def demo(
    root: Root = DEFAULT_ROOT,
    wait: Wait = None,
    as_json: Json = False,
    seed: Annotated[int, typer.Option(help="Seed of the generated world.")] = 0,
) -> None:
    """A whole unlearning run on a small world and a tiny model that are made here."""
    workspace = Workspace(root)
    start_engine(workspace, wait)
    from flows.demo import demo as flow

    show_outcome(flow(root=root, wait=wait, seed=seed), workspace, as_json)


@app.command()
def ablation(
    job: Annotated[
        Path | None, typer.Argument(metavar="JOB.toml", help="The job; by default the workspace's demo.")
    ] = None,
    changes: Changes = [],
    root: Root = DEFAULT_ROOT,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Reinforcement only, anchors only, both: whether the job needs both halves of the method."""
    from flows.ablation import ablation as flow
    from flows.ablation import ablation_found, ablation_table, arms
    from flows.audit import demo_job
    from flows.inputs import resolve
    from flows.job import changed, read_job

    workspace = Workspace(root)
    asked = read_job(job, changes) if job else changed(demo_job(workspace), changes)
    arms(asked)
    resolve(asked, workspace.hashes)  # what the flow would refuse is refused before its engine starts
    start_engine(workspace, wait)
    found = ablation_found(flow(asked, root=root, wait=wait), workspace)
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else ablation_table(found))


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="Model directory; by default what the job left behind.")] = "",
    job: Annotated[
        Path | None, typer.Option(metavar="JOB.toml", help="The job; by default the workspace's demo.")
    ] = None,
    changes: Changes = [],
    root: Root = DEFAULT_ROOT,
    wait: Wait = None,
    as_json: Json = False,
) -> None:
    """Attack a model that claims to have forgotten, with baseline and gold as references."""
    from flows.audit import audit as flow
    from flows.audit import demo_job, resolve_audit, show_audit
    from flows.job import changed, read_job

    workspace = Workspace(root)
    asked = read_job(job, changes) if job else changed(demo_job(workspace), changes)
    resolve_audit(asked, model, workspace)  # what the flow would refuse is refused before its engine starts
    start_engine(workspace, wait)
    show_audit(flow(asked, model, root=root, wait=wait), workspace, as_json)


def start_engine(workspace: Workspace, wait: float | None) -> None:
    """Before Prefect starts: a purge that goes on is waited for, and a kill will leave no server behind."""

    def waits(holder: str) -> None:
        print(f"nepenthe: waits: {holder}", file=sys.stderr)

    with workspace.using(wait, waiting=waits):
        pass
    guard_run()


def show_outcome(outcome: Any, workspace: Workspace, as_json: bool) -> None:
    """The table of a run: baseline, unlearned, gold; and where model and report lie."""
    from flows.query import summary, summary_table

    found = summary(outcome, workspace)
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else summary_table(found))


if __name__ == "__main__":
    main()
