"""The README is short and shows every command; the architecture's map names every folder by its whole path."""

import re
import subprocess
from pathlib import Path

import pytest

from flows.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Every file of the project."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    return listed.stdout.split()


def test_every_folder_stands_in_the_map(files: list[str]) -> None:
    code = [Path(file) for file in files if file.split("/")[0] in ("flows", "tasks", "dictionaries", "storage")]
    folders = {f"{parent.as_posix()}/" for file in code for parent in file.parents if parent != Path(".")}
    assert folders
    assert {folder for folder in folders if f"| `{folder}` |" not in ARCHITECTURE} == set()


@pytest.mark.parametrize("page", ["README.md", "docs/ARCHITECTURE.md", "docs/OPERATING.md"])
def test_every_path_that_a_page_names_is_there(page: str, files: list[str]) -> None:
    there = {*files, *(f"{parent.as_posix()}/" for file in files for parent in Path(file).parents)}
    named = re.findall(
        r"`((?:flows|tasks|dictionaries|storage|deploy|tests|docs)/[\w./-]*)`", (ROOT / page).read_text()
    )
    assert [path for path in named if path not in there] == []


def test_every_command_is_shown() -> None:
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert [name for name in names if f"nepenthe {name}" not in README and f"make {name}" not in README] == []


def test_it_is_read_in_a_few_minutes() -> None:
    assert README.count("\n") <= 150
