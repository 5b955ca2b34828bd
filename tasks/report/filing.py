"""filing: what can be handed to a court, a regulator, a rights holder: a document, the same as JSON, and a letter.

The text is named by hashes and lengths and never quoted, so all of it can leave the house. Only the request is in a
user's own words. `python -m tasks.report.filing` prints the schema, which is docs/filing.schema.json.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from storage.artifact import Artifact
from storage.errors import MissingArtifact
from storage.files import require_empty, whole_folder
from storage.settings import Settings
from storage.shards import read_shard
from storage.workspace import Workspace
from tasks.contents import ITEMS, REPORT_EVIDENCE, Row, read_json
from tasks.drawing.template import markdown
from tasks.report.card import LIMITS, results
from tasks.report.export import record_of
from tasks.report.record import Record, schema
from tasks.report.request import RequestSettings

FACTS, DOCUMENT, LETTER = "evidence.json", "evidence.md", "letter.md"
QUOTED = ("prompt", "expected", "completion")


class Passage(Settings):
    """A text that is not quoted."""

    sha256: str
    """Of its UTF-8 bytes."""
    characters: int
    """Its length."""


class FiledItem(Settings):
    """One question that a model was asked, and what came of it."""

    model: str
    """baseline, student or gold."""
    step: int | None
    """Unlearning step of a student."""
    metric: str
    """What was measured."""
    task: str
    """Benchmark or condition of an attack."""
    item: int
    """Number of the question, the same for every model."""
    request: str = ""
    """The earlier job whose text it asks about; empty for this request's own."""
    score: float | None
    """What the measure averages."""
    prompt: Passage
    """What the model was given."""
    expected: Passage
    """What the text has there."""
    completion: Passage
    """What the model said."""


class Release(Settings):
    """That what was held has been removed."""

    at: str
    """When, UTC."""
    by: str
    """The user."""


class Purge(Settings):
    """Once that what holds the text was taken out of the workspace."""

    at: str
    """When, UTC."""
    by: str
    """The user."""
    case: str
    """For what it is held, out of reach of every command; empty where it was removed."""
    artifacts: tuple[str, ...]
    """kind-fingerprint."""
    released: Release | None = None
    """The end of the hold; null where it lasts, or there was none."""


class Filing(Settings):
    """What a run shows of a request to forget, without the text."""

    format: Literal["nepenthe filing"] = "nepenthe filing"
    """Says what this file is."""
    schema_version: Literal[1] = 1
    """Version of this schema."""
    request: RequestSettings
    """The request, as the job gives it."""
    record: Record
    """What was done, and what it did."""
    items: tuple[FiledItem, ...] = Field(default=())
    """Every question behind the results."""
    purges: tuple[Purge, ...] = ()
    """What was taken out of the workspace, oldest first; its records are kept."""


def file_evidence(
    workspace: Workspace, report: Artifact, request: RequestSettings, folder: Path, letter: Path | None = None
) -> Row:
    """Write document, facts and letter into `folder`, which must be new or empty. Returns where they lie.

    `letter` is a template of the user's own (Jinja). Raises BadInput for a folder with something in it, a template that
    cannot be used, or a run without a student.
    """
    require_empty(folder)
    evidence = read_json(workspace.path(report) / REPORT_EVIDENCE)
    record = record_of(workspace, report, evidence)
    items = tuple(filed_items(workspace, record))
    purges = tuple(Purge.model_validate(purge) for purge in workspace.purges() if purge["artifacts"])
    filing = Filing(request=request, record=record, items=items, purges=purges)
    parts = {"filing": filing, "results": results(evidence), "limits": LIMITS}
    written = {
        FACTS: filing.model_dump_json(indent=1) + "\n",
        DOCUMENT: markdown("filing.md.j2", parts),
        LETTER: markdown("letter.md.j2", parts, letter),
    }
    with whole_folder(folder) as partial:
        partial.mkdir()
        for name, text in written.items():
            (partial / name).write_text(text, encoding="utf-8")
    return {name.partition(".")[0] if name == LETTER else name: str(folder / name) for name in written}


def filed_items(workspace: Workspace, record: Record) -> Iterator[FiledItem]:
    """Every item of the evaluations and attacks behind the record; what was purged has none."""
    inputs = {(made.kind, made.fingerprint): made.inputs for made in record.artifacts}
    requests = {request.text: request.job for request in record.earlier}
    for artifact in workspace.all():
        if (artifact.kind, artifact.fingerprint) not in inputs:
            continue
        asked = inputs[artifact.kind, artifact.fingerprint]
        request = requests.get(str(asked.get("corpus") or asked.get("target", {}).get("corpus")), "")
        try:
            table = read_shard(workspace.path(artifact, [ITEMS]) / ITEMS)
        except (FileNotFoundError, MissingArtifact):
            continue  # a stage that asks nothing
        for row in table.to_pylist():
            facts = {"request": request} | {name: row[name] for name in row if name in FiledItem.model_fields}
            yield FiledItem.model_validate(facts | {name: unquoted(row[name] or "") for name in QUOTED})


def unquoted(text: str) -> Passage:
    """A text by its hash and length."""
    return Passage(sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), characters=len(text))


if __name__ == "__main__":
    print(schema(Filing), end="")
