"""Whether two workspaces hold the same: every row of every table once, and the same labels to train on."""

from collections import Counter
from pathlib import Path

from storage.schemas import TABLES
from storage.tables import open_tables
from storage.workspace import Workspace

VARIES = {"metrics"}  # tables of times


def rows(root: Path) -> dict[str, Counter[str]]:
    """How often each row stands in each table, and in the view `labels`."""
    found: dict[str, Counter[str]] = {}
    with open_tables(Workspace(root), write=False, patience=30) as tables:
        for name in [*(set(TABLES) - VARIES), "labels"]:
            found[name] = Counter(map(repr, tables.execute(f"SELECT * FROM {name}").fetchall()))
    return found


def trained_on(root: Path) -> dict[str, bytes]:
    """The labels as training reads them, by artifact."""
    workspace = Workspace(root)
    labels = [artifact for artifact in workspace.all() if artifact.kind == "labels"]
    return {one.fingerprint: (workspace.path(one) / "training.arrow").read_bytes() for one in labels}


def assert_same(root: Path, undisturbed: Path) -> None:
    """Tables without a missing or a second row, labels identical, artifacts the same, nothing half-made."""
    found, expected = rows(root), rows(undisturbed)
    for name, wanted in expected.items():
        assert found[name] == wanted, f"{name}: {(found[name] - wanted).total()} more, {(wanted - found[name]).total()} less"
        assert not wanted or max(found[name].values()) == 1, f"{name}: a row stands there twice"
    assert trained_on(root) == trained_on(undisturbed)
    ours, theirs = ({one.folder for one in Workspace(place).all()} for place in (root, undisturbed))
    assert ours == theirs
    assert not Workspace(root).partials()
