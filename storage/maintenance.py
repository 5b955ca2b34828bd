"""Keeping a workspace in order: what no run refers to any more (`gc`), and damage (`verify --repair`).

What a run refers to is written down when it starts, so a run that failed or is suspended keeps what it needs.
"""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.lineage import lineage
from storage.tables import forget, in_tables, prune
from storage.workspace import Workspace

OLDER_THAN_DAYS = 7.0
"""Younger artifacts stay, whatever refers to them: somebody may be at it without a job."""


@dataclass
class Garbage:
    """What a workspace holds and no run refers to."""

    artifacts: list[Artifact] = field(default_factory=list)
    partials: list[Artifact] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    """What killed uploads and removals have left."""
    bytes: int = 0
    """Of the finished artifacts."""
    kept: int = 0
    """Finished artifacts that stay."""
    forgotten: list[str] = field(default_factory=list)
    """Runs whose references go."""


def gc(
    workspace: Workspace,
    *,
    yes: bool = False,
    forget_jobs: Sequence[str] = (),
    older_than: float = OLDER_THAN_DAYS,
) -> dict[str, Any]:
    """Remove what no run refers to and is older than so many days; without `yes` only say what would go.

    Raises WorkspaceBusy while a run goes on, BadInput where no run has ever said what it refers to.
    """
    with workspace.writing() if yes else nullcontext():
        garbage = find_garbage(workspace, forget_jobs, older_than)
        if yes:
            _remove(workspace, garbage)
    folders = {name: [artifact.folder for artifact in getattr(garbage, name)] for name in ("artifacts", "partials")}
    return {"done": yes, **vars(garbage), **folders}


def find_garbage(workspace: Workspace, forget_jobs: Sequence[str] = (), older_than: float = OLDER_THAN_DAYS) -> Garbage:
    """What would be removed. What a remaining run refers to, or is made from, never is."""
    runs = workspace.references()
    forgotten = _runs_of(list(runs), forget_jobs)
    staying = {run: note for run, note in runs.items() if run not in forgotten}
    if lost := [run for run, note in staying.items() if note is None]:
        raise BadInput(
            f"expected to read what {', '.join(lost)} refers to, found a damaged note, so nothing is removed: run the "
            "job again, which writes it anew, or give it up with --forget"
        )
    if not runs:
        raise BadInput(
            f"expected a run of {workspace.address} that says what it refers to, found none: everything would go. "
            "Run the job to keep first (from its cache that takes seconds); to remove a whole workspace, delete it"
        )
    referred = (artifact for note in staying.values() if note for artifact in note["artifacts"] + note.get("last", []))
    needed = lineage(workspace, [fingerprint for _, _, fingerprint in referred]).keys()
    before = datetime.now(UTC) - timedelta(days=older_than)
    signs = {workspace.signs(artifact).relative_to(workspace.root).as_posix() for artifact in workspace.partials()}
    left = [name for name in workspace.litter() if name not in signs]  # of what is unfinished, they are none
    litter = [*left, *(path.name for path in workspace.set_aside())]
    garbage = Garbage(litter=litter, forgotten=forgotten)
    for artifact, record in workspace.records():
        if artifact.fingerprint in needed or datetime.fromisoformat(record["made"]["at"]) > before:
            garbage.kept += 1
            continue
        garbage.artifacts.append(artifact)
        garbage.bytes += sum(file["bytes"] for file in record["files"].values())
    making = {key.partition(".")[0] for key in workspace.makers()}  # of a part, too
    partials = [artifact for artifact in workspace.partials() if artifact.key not in making]
    garbage.partials = [artifact for artifact in partials if _is_left(workspace, artifact, needed, before)]
    return garbage


def _is_left(workspace: Workspace, artifact: Artifact, needed: Collection[str], before: datetime) -> bool:
    """Whether nobody will go on with a partial artifact: no run needs it, or another machine has finished it."""
    if workspace.find(artifact.kind, artifact.fingerprint):
        return True
    touched = workspace.touched(artifact)
    return artifact.fingerprint not in needed and (touched is None or touched <= before)


def show_gc(summary: dict[str, Any]) -> str:
    lines = [*summary["artifacts"], *(f"{name} (unfinished)" for name in summary["partials"])]
    lines += [f"{name} (left by a killed process)" for name in summary["litter"]]
    lines += [f"references of {run}" for run in summary["forgotten"]]
    words = "removed" if summary["done"] else "would be removed; add --yes to do it"
    total = sum(len(summary[name]) for name in ("artifacts", "partials", "litter"))
    return "\n".join(
        [*lines, f"{total} ({summary['bytes'] / 2**20:,.1f} MiB) {words}; {summary['kept']} artifacts stay"]
    )


def verify(workspace: Workspace) -> dict[str, Any]:
    """Read every byte. Returns {"verified": artifacts that were read, "damaged": {folder: damaged files}}."""
    artifacts = workspace.all()
    looked_at = {artifact.folder: workspace.damaged(artifact, thorough=True) for artifact in artifacts}
    return {"verified": len(artifacts), "damaged": {folder: files for folder, files in looked_at.items() if files}}


def repair(workspace: Workspace) -> dict[str, Any]:
    """Take what `verify` finds away, with what belongs to it, so that the next run makes it again.

    Returns what `verify` does, and "repaired": what was taken away. Raises WorkspaceBusy while a run goes on.
    """
    with workspace.writing():
        summary = verify(workspace)
        for artifact in workspace.all():
            if damaged := summary["damaged"].get(artifact.folder):
                workspace.reopen(artifact, damaged)
                if workspace.database.exists():
                    in_tables(workspace, partial(forget, fingerprints=[artifact.fingerprint]), write=True)
    return summary | {"repaired": summary["damaged"]}


def show_verified(summary: dict[str, Any]) -> str:
    done, then = "damaged", ""
    if "repaired" in summary:
        done, then = "taken away", "; run the job again to make the others whole"
    lines = [f"{folder}: {done}: {', '.join(files)}" for folder, files in summary["damaged"].items()]
    whole = f"{summary['verified'] - len(lines)} of {summary['verified']} artifacts are as recorded"
    return "\n".join([*lines, whole + (then if lines else "")])


def _remove(workspace: Workspace, garbage: Garbage) -> None:
    for run in garbage.forgotten:
        workspace.forget(run)
    for artifact in garbage.artifacts:
        workspace.remove(artifact)
    for artifact in garbage.partials:
        workspace.discard(artifact)
    for name in garbage.litter:
        workspace.erase(name)
    if workspace.database.exists():
        in_tables(workspace, lambda tables: prune(tables, workspace), write=True)


def _runs_of(runs: list[str], jobs: Sequence[str]) -> list[str]:
    """The runs of these jobs: a run is named after its job and its flow (nightly.unlearn)."""
    for job in jobs:
        if not any(job in (run, run.rpartition(".")[0]) for run in runs):
            raise BadInput(f"expected a job that has run here ({', '.join(runs) or 'none has'}), found {job}")
    return [run for run in runs if not {run, run.rpartition(".")[0]}.isdisjoint(jobs)]
