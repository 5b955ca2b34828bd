"""What goes on in a workspace, for the terminal and as JSON: runs, what is made just now, failures, room, damage.

It reads what lies in the workspace and asks no server: it works on a cluster's login node, with Prefect down, too.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.cli.options import rows_as_text
from storage.artifact import RECORD, Artifact, as_object
from storage.errors import DamagedArtifact, MissingArtifact
from storage.workspace import Workspace
from tasks.engine.watch import progress_of

EVENT = ("at", "artifact", "event")
NO_RUN = "no run yet: nepenthe unlearn JOB.toml, or nepenthe demo, starts one"
FAILURES = 5
JOURNAL_BYTES = 2**20  # of the journal's end that are read
Row = dict[str, Any]


def status(workspace: Workspace) -> Row:
    """{"workspace", "at", "runs", "making", "failures", "unfinished", "damaged", "unreadable", "disk", "free_bytes"}.

    Damage is what can be seen without reading: files that are gone or have another size. `nepenthe verify` reads.
    """
    (events, torn), making = journal(workspace), _making(workspace)
    damaged = {artifact: files for artifact in workspace.all() if (files := _lost(workspace, artifact))}
    finished = {artifact.fingerprint for artifact in workspace.all() if RECORD not in damaged.get(artifact, ())}
    return {
        "workspace": workspace.address,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "runs": _runs(workspace, finished, events),
        "making": making,
        "failures": _failures(events, finished),
        "unfinished": _unfinished(workspace, finished | {row["fingerprint"] for row in making}),
        "damaged": {artifact.folder: files for artifact, files in damaged.items()},
        "unreadable": _unreadable(workspace, torn),
        "held": workspace.holds(),
        "disk": workspace.usage(),
        "free_bytes": _free(workspace.root),
    }


def journal(workspace: Workspace) -> tuple[list[Row], int]:
    """The last events of the journal, oldest first, and how many lines cannot be read: torn by a kill, or damaged."""
    try:
        with workspace.journal.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - JOURNAL_BYTES)
            file.seek(start)
            lines = file.read().splitlines()[1 if start else 0 :]  # the first one may be the end of a longer one
    except FileNotFoundError:
        return [], 0
    events = [event for line in lines if (event := _event(line))]
    return events, len(lines) - len(events)


def _event(line: bytes) -> Row | None:
    event = as_object(line, *EVENT)
    return event if event and all(isinstance(event[key], str) for key in EVENT) else None


def show_status(facts: Row) -> str:
    largest = sorted(facts["disk"].items(), key=lambda pair: -pair[1])
    free = f"  ({_size(facts['free_bytes'])} free)" if facts["free_bytes"] is not None else ""
    sections = [
        [f"{facts['workspace']}{free}"],
        _shown_runs(facts["runs"]) or ([] if facts["unreadable"] else ["", NO_RUN]),
        ["being made", *map(_shown_making, facts["making"])],
        ["failed", *map(_shown_failure, facts["failures"])],
        [
            "unfinished, and nobody is at it",
            *(f"  {left['artifact']}  since {left['since']}" for left in facts["unfinished"]),
        ],
        ["damaged", *(f"  {folder}: {', '.join(files)}" for folder, files in facts["damaged"].items())],
        ["unreadable", *(f"  {sentence}" for sentence in facts["unreadable"])],
        ["held", *(f"  {case}: {len(folders)} artifacts" for case, folders in facts["held"].items())],
        ["disk", *(f"  {_size(size):>10}  {kind}" for kind, size in largest if size)],
    ]
    return "\n\n".join("\n".join(lines) for number, lines in enumerate(sections) if number == 0 or len(lines) > 1)


def _runs(workspace: Workspace, finished: set[str], events: list[Row]) -> list[Row]:
    """The latest run of every job, newest first."""
    going_on, purges = {user.doing for user in workspace.users()}, workspace.purges()
    rows = []
    for name, run in workspace.references().items():
        if run is None:  # `_unreadable` says so
            continue
        planned = {fingerprint: kind for kind, _, fingerprint in run["artifacts"]}
        since = [key for purge in purges if purge["at"] > run["at"] for key in purge["artifacts"]]
        gone = {key.rpartition("-")[2] for key in since}
        state = "running" if name in going_on else _state(planned.keys() - finished, gone, events)
        facts = {"state": state, "finished": len(planned.keys() & finished), "planned": len(planned)}
        missing = [kind for fingerprint, kind in planned.items() if fingerprint not in finished]
        rows.append({key: run[key] for key in ("run", "at", "by", "host")} | facts | {"missing": missing})
    return sorted(rows, key=lambda run: run["at"], reverse=True)


def _state(missing: set[str], purged: set[str], events: list[Row]) -> str:
    if missing <= purged:
        return "purged" if missing else "finished"
    last = [event["event"] for event in events if event["artifact"] in missing]
    return "failed" if last and last[-1] == "failed" else "unfinished"


def _making(workspace: Workspace) -> list[Row]:
    """What is made just now, a part on its own line."""
    rows = []
    for key, holder in workspace.makers().items():
        kind, _, which = key.rpartition("-")
        fingerprint, _, part = which.partition(".")
        done, total = progress_of(workspace, Artifact(kind, "", fingerprint)) or (None, None)
        who = {"by": holder.who, "host": holder.host, "pid": holder.pid, "since": holder.since}
        row = {"stage": kind, "fingerprint": fingerprint, "part": part, "done": done, "total": total}
        rows.append(row | who)
    return rows


def _failures(events: list[Row], finished: set[str]) -> list[Row]:
    """The last failure of each artifact, newest first; `solved` where it has been made since."""
    last = {event["artifact"]: event for event in events if event["event"] == "failed"}
    newest = sorted(last.values(), key=lambda event: str(event["at"]), reverse=True)[:FAILURES]
    keys = ("at", "run", "stage", "artifact", "shard", "message")
    return [{key: event.get(key) for key in keys} | {"solved": event["artifact"] in finished} for event in newest]


def _unfinished(workspace: Workspace, attended: set[str]) -> list[Row]:
    return [
        {"artifact": artifact.folder, "since": time.isoformat(timespec="seconds")}
        for artifact in workspace.partials()
        if artifact.fingerprint not in attended and (time := workspace.touched(artifact))
    ]


def _lost(workspace: Workspace, artifact: Artifact) -> list[str]:
    try:
        return workspace.lost(artifact)
    except DamagedArtifact:
        return [RECORD]
    except MissingArtifact:
        return []  # it has just been removed


def _free(root: Path) -> int | None:
    """Free bytes of the local disk that the workspace, or its cache, lies on."""
    try:
        return shutil.disk_usage(root).free
    except FileNotFoundError:
        return None


def _unreadable(workspace: Workspace, torn: int) -> list[str]:
    """A sentence about whatever should say what happened, or what is needed, and cannot be read."""
    runs = [f"what {run} refers to: run it again" for run, note in workspace.references().items() if note is None]
    return [*runs, *([f"{torn} lines of {workspace.journal}: torn by a kill, or damaged"] if torn else [])]


def _shown_runs(runs: list[Row]) -> list[str]:
    names = ["run", "state", "stages", "started", "by"]
    rows: list[tuple[Any, ...]] = [
        (run["run"], run["state"], f"{run['finished']} of {run['planned']}", run["at"], f"{run['by']} on {run['host']}")
        for run in runs
    ]
    return rows_as_text(names, rows).splitlines() if rows else []


def _shown_making(making: Row) -> str:
    part = f" part {making['part'].replace('of', ' of ')}" if making["part"] else ""
    share = f"{making['done'] / making['total']:4.0%}" if making["total"] else "   ?"
    place = f"{making['by']} on {making['host']}, process {making['pid']}, since {making['since']}"
    return f"  {share}  {making['stage']} {making['fingerprint']}{part}  by {place}"


def _shown_failure(failure: Row) -> str:
    solved = "  (made since)" if failure["solved"] else ""
    said = str(failure["message"]).splitlines() or [""]
    return f"  {failure['at']}  {failure['run']}  {failure['stage']} {failure['artifact']}{solved}\n    {said[0]}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
