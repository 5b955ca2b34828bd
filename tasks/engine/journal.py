"""The journal: what happened in a workspace, one JSON object a line, for people, log collectors and `nepenthe status`.

Keys: at, run, stage, artifact (fingerprint), shard, event, message. Lines of several processes never mix: each is one
append of less than a page.
"""

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from storage.artifact import Artifact
from storage.workspace import Workspace

Event = Literal["started", "waiting", "shard", "made", "cached", "damaged", "smaller batch", "failed"]
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Journal:
    """The journal of one run."""

    workspace: Workspace
    run: str

    def note(self, artifact: Artifact, event: Event, message: str = "", shard: str | None = None) -> None:
        """Append a line."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "run": self.run,
            "stage": artifact.kind,
            "artifact": artifact.fingerprint,
            "shard": shard,
            "event": event,
            "message": message[:LONGEST_MESSAGE],
        }
        path = self.workspace.journal
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        finally:
            os.close(descriptor)
