"""review: what a person decided about a dictionary, and the dictionary that comes of it.

Decisions lie beside the artifacts because they are input, not output, and in the store, so that every machine has them.
Their identity is what they change: who decided, when, and what was approved as it stood, makes no other dictionary.
"""

import hashlib
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.review import Reviewed, import_review
from dictionaries.statistics import PROPOSED
from storage.artifact import Artifact, as_json, as_object
from storage.errors import BadInput
from storage.files import Files
from storage.workspace import Workspace
from tasks.contents import LEFT_OUT, decision_rows, dictionary_of, documents_of, write_dictionary
from tasks.dictionary_inputs import DictionaryInputs, linted
from tasks.engine.stage import Context, Counts, stage

Decisions = dict[str, dict[str, Any]]  # by anchor: decision, before, translations, kind, by, at


@stage("review", version=1)
def review(
    context: Context, corpus: Artifact, dictionary: Artifact, decisions: Files, words: DictionaryInputs
) -> Counts:
    """Write the dictionary as it was decided, its lint, and the decisions with who and when.

    Raises BadInput where the lint finds an error that the decisions left or made.
    """
    decided = decisions_on(context.workspace, dictionary)
    if identity(decided) != decisions.fingerprint:
        raise BadInput(f"expected the decisions about {dictionary.folder} to stay, found others: run the job again")
    reviewed = applied(dictionary_of(context.path(dictionary)), decided)
    documents = documents_of(context.path(corpus))
    findings = linted(reviewed, documents, words)
    write_dictionary(context.folder, reviewed, findings, map(_row, decided, decided.values()))
    chosen = [decision["decision"] for decision in decided.values()]
    names = {"approved": "approve", "changed": "change", "rejected": "reject"}
    counts: Counts = {name: chosen.count(decision) for name, decision in names.items()}
    return {"anchors": len(reviewed), **counts, "lint": {finding["rule"]: finding["count"] for finding in findings}}


def decisions_on(workspace: Workspace, dictionary: Artifact) -> Decisions:
    """The decisions so far, whichever machine they were made on; none where nobody has decided anything."""
    text = workspace.read(workspace.decisions(dictionary))
    if text is None:
        return {}
    content = as_object(text, "decisions")
    if content is None:
        raise BadInput(
            f"expected people's decisions in {workspace.decisions(dictionary)} of {workspace.address}, found none that "
            "can be read: put it back from a backup, or remove it and review the dictionary again"
        )
    return dict(content["decisions"])


def undecided(workspace: Workspace, dictionary: Artifact) -> list[str]:
    decided = decisions_on(workspace, dictionary)
    return [entry.anchor for entry in dictionary_of(workspace.path(dictionary)).entries if entry.anchor not in decided]


def proposals_of(workspace: Workspace, dictionary: Artifact) -> Dictionary:
    """What an extractor proposed for a person to decide and did not use. It never counts as undecided."""
    folder = workspace.path(dictionary)
    used = {entry.anchor for entry in dictionary_of(folder).entries}
    return Dictionary(
        tuple(
            Entry(row["anchor"], (row["translation"],), provenance="statistics")
            for row in decision_rows(folder)
            if row["reason"] == LEFT_OUT + PROPOSED and row["anchor"] not in used
        )
    )


def approved(workspace: Workspace, dictionary: Artifact) -> Files | None:
    """The decisions, known by what they change; None as long as an anchor is undecided."""
    if undecided(workspace, dictionary):
        return None
    return Files((workspace.decisions(dictionary),), identity(decisions_on(workspace, dictionary)))


def identity(decisions: Decisions) -> str:
    """The fingerprint of what decisions change; an approved proposal does, a rejected one does not."""
    changes = [
        [anchor, decision["translations"], decision["kind"]]
        for anchor, decision in sorted(decisions.items())
        if (decision["translations"] if decision["before"] is None else decision["decision"] != "approve")
    ]
    return hashlib.sha256(json.dumps(changes).encode()).hexdigest()[:16]


def import_table(workspace: Workspace, dictionary: Artifact, table: Path, by: str) -> int:
    """Take over the decisions of an exported table; a later one about the same anchor counts. Returns how many."""
    draft = dictionary_of(workspace.path(dictionary))
    _, reviewed = import_review(draft, table, by, datetime.now(UTC), proposals_of(workspace, dictionary))
    _write(workspace, dictionary, {decision.anchor: asdict(decision) for decision in reviewed})
    return len(reviewed)


def approve_rest(workspace: Workspace, dictionary: Artifact, by: str, note: str = "") -> int:
    """Approve every entry that nobody has decided about. Returns how many."""
    rest, at = set(undecided(workspace, dictionary)), datetime.now(UTC).isoformat()
    rows = [
        asdict(Reviewed(entry.anchor, "approve", entry.translations, entry.translations, entry.kind, by, at))
        for entry in dictionary_of(workspace.path(dictionary)).entries
        if entry.anchor in rest
    ]
    _write(workspace, dictionary, {row["anchor"]: row | {"note": note} for row in rows})
    return len(rows)


def applied(dictionary: Dictionary, decisions: Decisions) -> Dictionary:
    """The dictionary with what was changed and what was approved of the proposals, without what was rejected."""
    entries = {entry.anchor: entry for entry in dictionary.entries}
    for anchor, decision in decisions.items():
        if decision["decision"] == "reject":
            entries.pop(anchor, None)
        elif decision["decision"] == "change" or decision["before"] is None:
            entry = entries.get(anchor, Entry(anchor, (), provenance="statistics"))
            entries[anchor] = replace(entry.translated(decision["translations"]), kind=decision["kind"])
    return Dictionary(tuple(entries.values()), dictionary.source)


def _write(workspace: Workspace, dictionary: Artifact, new: Decisions) -> None:
    decisions = decisions_on(workspace, dictionary) | new
    document = {"dictionary": dictionary.folder, "decisions": dict(sorted(decisions.items()))}
    workspace.write(workspace.decisions(dictionary), as_json(document))


def _row(anchor: str, decision: dict[str, Any]) -> dict[str, Any]:
    return {
        "anchor": anchor,
        "translation": " | ".join(decision["before"] or ()),
        "replacement": " | ".join(decision["translations"]),
        "reason": decision["decision"],
        "decided_by": decision["by"],
        "decided_at": decision["at"],
    }
