"""The README names every file of the project, each with a comment, and every command that there is."""

import subprocess
from pathlib import Path

import pytest

from flows.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_stands_in_the_tree() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "flows", "tasks", "dictionaries", "storage"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    files = [Path(line) for line in listed.stdout.split() if line.endswith(".py") and "__init__" not in line]
    rooms = README.split("\n    ")
    missing = [str(file) for file in files if not any(line.strip().startswith(file.name + " ") for line in rooms)]
    assert files
    assert missing == []


def test_every_command_is_shown() -> None:
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert [name for name in names if f"nepenthe {name}" not in README and f"make {name}" not in README] == []
