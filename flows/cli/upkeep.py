"""Commands that keep a workspace in order: status, gc, purge, verify."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli import status as overview
from flows.cli.options import Options, Yes
from storage import maintenance
from storage.opening import workspace_there
from storage.tables import refresh
from tasks.report.export import verify_export

BEFORE = ", after nepenthe export and nepenthe evidence: they read the report, which goes, too"


def status(options: Options) -> None:
    """Show a workspace: runs, what is being made and how far, failures, damage, room."""
    options.answer(overview.status(workspace_there(options.root)), overview.show_status)


def gc(
    options: Options,
    yes: Yes = False,
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Younger artifacts stay.")] = 7,
    forget: Annotated[list[str] | None, typer.Option(metavar="JOB", help="A job that is not needed any more.")] = None,
) -> None:
    """Remove artifacts that no job's latest run refers to."""
    workspace = workspace_there(options.root)
    summary = maintenance.gc(workspace, yes=yes, forget_jobs=forget or [], older_than=older_than)
    options.answer(summary, maintenance.show_gc)


def purge(
    options: Options,
    yes: Yes = False,
    hold: Annotated[str, typer.Option(metavar="CASE", help="Keep it, out of reach of every command.")] = "",
    release: Annotated[str, typer.Option(metavar="CASE", help="Remove what is held for a case.")] = "",
) -> None:
    """Remove what holds the text to forget: corpus, blocks, logits, labels, reinforced model, items, reports."""
    workspace = workspace_there(options.root)
    with workspace.writing():
        if release:
            folders = workspace.holds().get(release, [])
            if yes or not folders:
                workspace.release(release)
        else:
            folders = [artifact.folder for artifact in (workspace.purge(hold) if yes else workspace.protected())]
            if yes:
                refresh(workspace)
    done = f"held for {hold}" if hold else "removed"
    words = done if yes else f"would be {done}; add --yes to do it{'' if release else BEFORE}"
    options.answer({"done": yes, "removed": folders}, lambda _: "\n".join([*folders, f"{len(folders)} {words}"]))


def verify(
    options: Options,
    folder: Annotated[str, typer.Argument(help="An exported model; by default the whole workspace.")] = "",
    repair: Annotated[bool, typer.Option("--repair", help="Take damage away; the next run makes it again.")] = False,
) -> None:
    """Recompute the checksums of a workspace or an exported model. Exit code 2 where a byte is not the recorded one."""
    if folder:
        files = verify_export(Path(folder))
        options.answer({"verified": files}, lambda _: f"{files} files are as recorded")
    elif repair:
        options.answer(maintenance.repair(workspace_there(options.root)), maintenance.show_repair)
    else:
        workspace = workspace_there(options.root)
        artifacts = workspace.all()
        for artifact in artifacts:
            workspace.verify(artifact)
        options.answer({"verified": len(artifacts)}, lambda _: f"{len(artifacts)} artifacts are as recorded")
