"""The tables of docs/TABLES.md, written from the schemas below the words that stand there.

`python -m storage.tables_page` writes the page again.
"""

from pathlib import Path

from storage.schemas import MADE_BY, SQL_TABLES, TABLES, Table

PAGE = Path(__file__).parents[1] / "docs" / "TABLES.md"


def page() -> str:
    """The page as it should be: its words, and every table as the schemas have it."""
    words = PAGE.read_text(encoding="utf-8").partition(f"\n## {next(iter(TABLES))}\n")[0]
    return "\n".join([words, *(_section(name, table) for name, table in (TABLES | SQL_TABLES).items())])


def _section(name: str, table: Table) -> str:
    made_by = {"artifact": ("string", MADE_BY)} if name in TABLES else {}
    rows = "\n".join(
        f"| {column} | {str(kind).replace('element: ', '')} | {meaning} |"
        for column, (kind, meaning) in (made_by | table.columns).items()
    )
    return f"## {name}\n\n{table.comment}.\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
