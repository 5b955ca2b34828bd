"""The tables of docs/TABLES.md, written from the schemas below the words that stand there.

`python -m storage.tables_page` writes the page again.
"""

from pathlib import Path

from storage.schemas import SQL_TABLES, TABLES

PAGE = Path(__file__).parents[1] / "docs" / "TABLES.md"
MADE_BY = ("artifact", "string", "fingerprint of the artifact that made the row")


def page() -> str:
    """The page as it should be: its words, and every table as the schemas have it."""
    parts = [PAGE.read_text(encoding="utf-8").partition(f"\n## {next(iter(TABLES))}\n")[0]]
    for name, table in TABLES.items():
        columns = [(column, str(kind), meaning) for column, (kind, meaning) in table.columns.items()]
        parts.append(_section(name, table.comment, [MADE_BY, *columns]))
    for name, (comment, book) in SQL_TABLES.items():
        parts.append(_section(name, comment, [(column, kind, meaning) for column, (kind, meaning) in book.items()]))
    return "\n".join(parts)


def _section(name: str, comment: str, columns: list[tuple[str, str, str]]) -> str:
    rows = "\n".join(f"| {column} | {kind.replace('element: ', '')} | {meaning} |" for column, kind, meaning in columns)
    return f"## {name}\n\n{comment}.\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
