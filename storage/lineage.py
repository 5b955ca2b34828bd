"""What an artifact was made from, as the records say: one walk for whoever asks (gc, the report, an export).

Users' files and models have fingerprints in a record, too: no artifact bears them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from storage.artifact import Artifact
from storage.workspace import Workspace

FINGERPRINT = re.compile(r"[0-9a-f]{16}")
Record = dict[str, Any]


def lineage(workspace: Workspace, first: Iterable[str]) -> dict[str, Record | None]:
    """The records of these fingerprints and of all that they were made from, sources first; None for what is not made.

    Each has its artifact's `folder` besides. Raises DamagedArtifact where a record cannot be read.
    """
    by_fingerprint = {artifact.fingerprint: artifact for artifact in workspace.all()}
    records: dict[str, Record | None] = {}

    def visit(fingerprint: str) -> None:
        if fingerprint in records:
            return
        artifact = by_fingerprint.get(fingerprint)
        record = workspace.record(artifact) | {"folder": artifact.folder} if artifact else None
        for source in fingerprints_in(record["inputs"]) if record else ():
            visit(source)
        records[fingerprint] = record

    for fingerprint in first:
        visit(fingerprint)
    return records


def history(workspace: Workspace, first: Iterable[Artifact]) -> list[Record]:
    """The records of these finished artifacts and of all that they were made from, sources first."""
    records = lineage(workspace, [workspace.record(artifact)["fingerprint"] for artifact in first])
    return [record for record in records.values() if record]


def fingerprints_in(inputs: object) -> Iterator[str]:
    """Whatever looks like a fingerprint in a record's inputs; a made model stands there as FINGERPRINT/part."""
    if isinstance(inputs, dict | list):
        for value in inputs.values() if isinstance(inputs, dict) else inputs:
            yield from fingerprints_in(value)
    elif isinstance(inputs, str) and FINGERPRINT.fullmatch(inputs.partition("/")[0]):
        yield inputs.partition("/")[0]
