"""Questions of a benchmark as jsonl rows: {"query", "choices", "gold"}, or {"context_options", "continuation", "gold"}
where the choice is the context. No torch: a job with a bad row is refused before anything is loaded.
"""

import json
from pathlib import Path
from typing import Any

from storage.errors import BadInput

CHOICES = {"query": str, "choices": list, "gold": int}
CONTEXTS = {"context_options": list, "continuation": str, "gold": int}


def read_questions(path: Path) -> list[dict[str, Any]]:
    """The questions as lm-eval is given them. Raises BadInput with file and line."""
    rows = []
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                rows.append(_read_row(json.loads(line), f"{path}, line {number}"))
    except (OSError, ValueError) as error:
        raise BadInput(f"The benchmark {path} must be JSON, one object a line: {error}.") from error
    if not rows:
        raise BadInput(f"The benchmark {path} is empty.")
    if len({frozenset(row) for row in rows}) > 1:
        raise BadInput(f"The benchmark {path} mixes rows with 'choices' and rows with 'context_options'.")
    return rows


def _read_row(row: Any, where: str) -> dict[str, Any]:
    form = CONTEXTS if isinstance(row, dict) and "context_options" in row else CHOICES
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in form.items()):
        raise BadInput(f"{where}: expected {', '.join(CHOICES)} or {', '.join(CONTEXTS)}.")
    options = row["context_options"] if form is CONTEXTS else row["choices"]
    if not all(isinstance(option, str) and option.strip() for option in options):
        raise BadInput(f"{where}: every choice must be a text that is not empty.")
    if not 0 <= row["gold"] < len(options):
        raise BadInput(f"{where}: gold is {row['gold']}, but there are {len(options)} choices, counted from 0.")
    if form is CONTEXTS:
        return {key: row[key] for key in CONTEXTS}
    return {"query": _ask(row["query"]), "choices": [o.strip() for o in options], "gold": row["gold"]}


def _ask(query: str) -> str:
    """ARC and BoolQ in this form end with the question; lm-eval's own tasks then ask for the answer."""
    query = query.rstrip(" ")
    asks = "Question:" in query and not query.endswith("Answer:")
    return query + "\nAnswer:" if asks else query
