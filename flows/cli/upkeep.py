"""Commands that keep a workspace in order: status, gc, purge, verify."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Options, Yes
from storage.errors import BadInput, DamagedArtifact
from storage.opening import workspace_there

BEFORE = ", after nepenthe export and nepenthe evidence: they read the report, which goes, too"


def status(options: Options) -> None:
    """Show a workspace: runs, what is being made and how far, failures, damage, room."""
    from flows.cli.status import show_status
    from flows.cli.status import status as status_of

    options.answer(status_of(workspace_there(options.root)), show_status)


def gc(
    options: Options,
    yes: Yes = False,
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0, help="Younger artifacts stay.")] = 7,
    forget: Annotated[list[str] | None, typer.Option(metavar="JOB", help="A job that is not needed any more.")] = None,
) -> None:
    """Remove artifacts that no job's latest run refers to."""
    from storage.maintenance import gc as collect
    from storage.maintenance import show_gc

    options.answer(
        collect(workspace_there(options.root), yes=yes, forget_jobs=forget or [], older_than=older_than), show_gc
    )


def purge(
    options: Options,
    yes: Yes = False,
    hold: Annotated[str | None, typer.Option(metavar="CASE", help="Keep it, out of reach of every command.")] = None,
    release: Annotated[str | None, typer.Option(metavar="CASE", help="Remove what is held for a case.")] = None,
) -> None:
    """Remove what holds the text to forget: corpus, blocks, logits, labels, reinforced model, items, reports."""
    from storage.local import refuse_case
    from storage.tables import refresh

    for case in (hold, release):
        if case is not None:  # "" is what a variable holds that is not set: nothing is removed for it
            refuse_case(case)
    if hold and release:
        raise BadInput("expected --hold or --release, found both: one after the other")
    workspace = workspace_there(options.root)
    with workspace.writing():
        if release:
            folders = workspace.holds().get(release, [])
            if yes or not folders:
                workspace.release(release)
        else:
            folders = [artifact.folder for artifact in (workspace.purge(hold or "") if yes else workspace.protected())]
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
        from tasks.report.export import verify_export

        files = verify_export(Path(folder))
        options.answer({"verified": files}, lambda _: f"{files} files are as recorded")
        return
    from storage import maintenance

    workspace = workspace_there(options.root)
    summary = maintenance.repair(workspace) if repair else maintenance.verify(workspace)
    options.answer(summary, maintenance.show_verified)
    if summary["damaged"] and not repair:
        raise DamagedArtifact(
            f"expected in {workspace.address} the bytes that its records describe, found others, or none, in "
            f"{', '.join(summary['damaged'])}; nepenthe verify --repair takes them away, then run the job again"
        )
