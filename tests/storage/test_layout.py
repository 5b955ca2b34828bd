"""Where bytes lie below a workspace's root is said by storage alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.workspace import Workspace

ROOT = Path(__file__).parents[2]
LISTING = {"joinpath", "glob", "rglob", "iterdir", "with_name"}
MODEL = Artifact("student", "tale", "0123456789abcdef")


def spelled(source: str) -> list[int]:
    """The lines that spell a path below something called `root`."""
    return [node.lineno for node in ast.walk(ast.parse(source)) for base in _bases(node) if _is_root(base)]


def _bases(node: ast.AST) -> Iterator[ast.expr]:
    """What a path is spelled below, if this node spells one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LISTING:
        yield node.func.value
    elif isinstance(node, ast.Call) and len(node.args) > 1 and ast.unparse(node.func) in ("Path", "os.path.join"):
        yield node.args[0]
    elif isinstance(node, ast.JoinedStr):
        for value, rest in zip(node.values, node.values[1:], strict=False):
            if isinstance(value, ast.FormattedValue) and ast.unparse(rest).startswith(("'/", '"/')):
                yield value.value


def _is_root(node: ast.expr) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "root"


@pytest.mark.parametrize(
    "line",
    [
        'workspace.root / "runs"',
        'root / "runs" / name',
        'work.workspace.root.glob("*")',
        'Path(workspace.root, "runs")',
        'f"{workspace.root}/runs"',
    ],
)
def test_a_path_below_the_root_is_seen(line: str) -> None:
    assert spelled(line) == [1]


def test_nobody_outside_storage_spells_a_path_below_the_root() -> None:
    files = [file for room in ("flows", "tasks", "dictionaries") for file in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 50
    found = [f"{file}:{line}" for file in files for line in spelled(file.read_text(encoding="utf-8"))]
    assert found == []


def test_a_path_is_known_by_the_artifact_that_it_lies_in(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    model = workspace.model_path(MODEL, "steps/000004")
    assert model == tmp_path / "student" / "tale-0123456789abcdef" / "steps" / "000004"
    assert workspace.artifact_at(model) == workspace.artifact_at(model.parents[1]) == MODEL
    for elsewhere in (tmp_path, tmp_path / "student", tmp_path / MODEL.partial, tmp_path / "logs" / "x", Path("/tmp")):
        assert workspace.artifact_at(elsewhere) is None
