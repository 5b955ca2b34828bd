"""The page about the tables says what the schemas say, and its examples run."""

import re
from pathlib import Path

from storage.tables import open_tables
from storage.tables_page import PAGE, page
from storage.workspace import Workspace


def test_the_page_is_the_schemas() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m storage.tables_page"


def test_every_example_runs(tmp_path: Path) -> None:
    examples = re.search(r"```sql\n(.*?)```", page(), re.S)
    assert examples
    with open_tables(Workspace(tmp_path), write=True) as tables:
        for example in examples.group(1).split(";\n"):
            if example.strip():
                tables.execute(example)
