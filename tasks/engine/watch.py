"""Signs of life of a making: small files under making/ that its run, `nepenthe status` and other runs read.

They lie beside the artifacts and never in one, so that the same work leaves the same bytes whoever watched it.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.files import listed, write_atomically
from storage.workspace import Workspace

WRITE_EVERY_SECONDS = 0.2
_written: dict[Path, float] = {}


def say_progress(workspace: Workspace, artifact: Artifact, part: int, done: float, total: float) -> None:
    """How far a part is, in any unit. Cheap to call often: most calls write nothing."""
    path, now = workspace.signs(artifact) / f"progress-{part}.json", time.monotonic()
    if now - _written.get(path, 0.0) < WRITE_EVERY_SECONDS and done < total:
        return
    _written[path] = now
    _write(path, {"done": done, "total": total})


def progress_of(workspace: Workspace, artifact: Artifact) -> tuple[float, float] | None:
    """Done and total of an artifact that is being made: of its parts, the one that has got furthest."""
    found = [_read(path) for path in listed(workspace.signs(artifact), "progress-*.json")]
    return max(((one["done"], one["total"]) for one in found if one), default=None)


def say_fault(workspace: Workspace, artifact: Artifact, part: int, error: Exception) -> None:
    """Leave an error for whoever waits for this making in another process."""
    _write(workspace.signs(artifact) / f"fault-{part}.json", {"error": type(error).__name__, "message": str(error)})


def fault_of(workspace: Workspace, artifact: Artifact, part: int) -> tuple[str, str] | None:
    """The class and the sentence of the error that a part ended with; it is taken away."""
    path = workspace.signs(artifact) / f"fault-{part}.json"
    found = _read(path)
    path.unlink(missing_ok=True)
    return (found["error"], found["message"]) if found else None


def say_waiting(workspace: Workspace, artifact: Artifact, order: float, holder: str) -> None:
    """An order, known by when it was given, waits for another maker of the same."""
    _write(workspace.signs(artifact) / f"waiting-{order}.json", {"holder": holder})


def waiting_of(workspace: Workspace, artifact: Artifact, order: float) -> str | None:
    """Whom an order waits for."""
    found = _read(workspace.signs(artifact) / f"waiting-{order}.json")
    return str(found["holder"]) if found else None


def clear_signs(workspace: Workspace, artifact: Artifact) -> None:
    """The making has ended well."""
    shutil.rmtree(workspace.signs(artifact), ignore_errors=True)


def _write(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found
