"""Commands that keep a workspace in order: status, gc, purge, verify."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DEFAULT_ROOT, AsJson, Root, Yes, answer
from storage.opening import open_workspace


def status(root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Show a workspace: runs, what is being made and how far, failures, damage, room."""
    from flows.cli.status import show_status
    from flows.cli.status import status as status_of

    answer(status_of(open_workspace(root)), as_json, show_status)


def gc(
    root: Root = DEFAULT_ROOT,
    yes: Yes = False,
    older_than: Annotated[float, typer.Option(metavar="DAYS", help="Younger artifacts stay.")] = 7,
    forget: Annotated[list[str] | None, typer.Option(metavar="JOB", help="A job that is not needed any more.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove artifacts that no job's latest run refers to."""
    from storage.maintenance import gc as collect
    from storage.maintenance import show_gc

    answer(collect(open_workspace(root), yes=yes, forget_jobs=forget or [], older_than=older_than), as_json, show_gc)


def purge(
    root: Root = DEFAULT_ROOT,
    yes: Yes = False,
    hold: Annotated[str, typer.Option(metavar="CASE", help="Keep it, out of reach of every command.")] = "",
    release: Annotated[str, typer.Option(metavar="CASE", help="Remove what is held for a case.")] = "",
    as_json: AsJson = False,
) -> None:
    """Remove what holds the text to forget: corpus, blocks, logits, labels, reinforced model, items, reports."""
    from storage.tables import refresh

    workspace = open_workspace(root)
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
    words = done if yes else f"would be {done}; add --yes to do it"
    answer({"done": yes, "removed": folders}, as_json, lambda _: "\n".join([*folders, f"{len(folders)} {words}"]))


def verify(
    folder: Annotated[str, typer.Argument(help="An exported model; by default the whole workspace.")] = "",
    root: Root = DEFAULT_ROOT,
    repair: Annotated[bool, typer.Option("--repair", help="Take damage away; the next run makes it again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the checksums of a workspace or an exported model. Exit code 2 where a byte is not the recorded one."""
    if folder:
        from tasks.report.export import verify_export

        files = verify_export(Path(folder))
        answer({"verified": files}, as_json, lambda _: f"{files} files are as recorded")
    elif repair:
        from storage.maintenance import repair as repair_in
        from storage.maintenance import show_repair

        answer(repair_in(open_workspace(root)), as_json, show_repair)
    else:
        workspace = open_workspace(root)
        artifacts = workspace.all()
        for artifact in artifacts:
            workspace.verify(artifact)
        answer({"verified": len(artifacts)}, as_json, lambda _: f"{len(artifacts)} artifacts are as recorded")
