"""Whether two workspaces hold the same: every row of every table once, and the same labels to train on."""

import json
from collections import Counter
from pathlib import Path

from storage.opening import open_workspace
from storage.schemas import TABLES
from storage.tables import open_tables

TIMES = {"metrics": None, "training_steps": "* EXCLUDE (seconds)"}  # None: nothing but times and machines


def rows(root: Path) -> dict[str, Counter[str]]:
    """How often each row stands in each table, and in the view `labels`."""
    found: dict[str, Counter[str]] = {}
    with open_tables(open_workspace(root), write=False, patience=30) as tables:
        for name in [*TABLES, "labels"]:
            if columns := TIMES.get(name, "*"):
                found[name] = Counter(map(repr, tables.execute(f"SELECT {columns} FROM {name}").fetchall()))
    return found


def trained_on(root: Path) -> dict[str, bytes]:
    """The labels as training reads them, by artifact."""
    workspace = open_workspace(root)
    labels = [artifact for artifact in workspace.all() if artifact.kind == "labels"]
    return {one.fingerprint: (workspace.path(one) / "training.arrow").read_bytes() for one in labels}


def assert_same(root: Path, undisturbed: Path) -> None:
    """Tables without a missing or a second row, labels identical, artifacts the same, nothing half-made."""
    found, expected = rows(root), rows(undisturbed)
    for name, wanted in expected.items():
        more, less = (found[name] - wanted).total(), (wanted - found[name]).total()
        assert found[name] == wanted, f"{name}: {more} rows more, {less} less"
        assert not wanted or max(found[name].values()) == 1, f"{name}: a row stands there twice"
    assert trained_on(root) == trained_on(undisturbed)
    ours, theirs = ({one.folder for one in open_workspace(place).all()} for place in (root, undisturbed))
    assert ours == theirs
    assert not open_workspace(root).partials()


def journal(root: Path, event: str) -> Counter[str]:
    """What the runs of a workspace have noted of an event: how often, by stage."""
    path = root / "logs" / "runs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return Counter(line["stage"] for line in lines if line["event"] == event)
