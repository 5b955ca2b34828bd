"""docs/TABLES.md, written from the schemas: `python -m storage.tables_page > docs/TABLES.md`."""

from storage.schemas import SQL_TABLES, TABLES

HEAD = """# The tables of a workspace

`nepenthe sql "..."` queries them, read-only, also while a run goes on; so does any DuckDB 2 client that opens
`tables.duckdb`. The file is made from the artifacts: delete it, and the next run fills it again. The column `artifact`
is the fingerprint of the artifact that made a row, and the key to join `artifacts` on.

This page is written from `storage/schemas.py`.

## Examples

```sql
-- the label of every position at another alpha, without a model: a look-up
SELECT reason, count(*), count(label) FROM labels(2.5) GROUP BY ALL;

-- how many labels change between two alphas
SELECT count(*) FILTER (a.label <> b.label) AS changed, count(*) AS positions
FROM labels(1) a JOIN labels(5) b USING (artifact, block_id, position) WHERE a.reason IS NULL;

-- the results by step
SELECT model, step, metric, task, value, stderr FROM evaluations ORDER BY model, step, metric, task;

-- what the models say to the same prompt
SELECT item, model, step, prompt, completion FROM evaluation_items
WHERE metric = 'familiarity_completion' ORDER BY item, model, step LIMIT 20;

-- the baseline's probability of its first candidate, and what the reinforced model raises
SELECT block_id, position, ids[1] AS token, exp(baseline[1] - baseline_lse) AS probability,
       list_transform(list_zip(baseline, reinforced), lambda pair: greatest(pair[2] - pair[1], 0)) AS raised
FROM logits WHERE reason IS NULL LIMIT 10;

-- what was made from what
SELECT kind, fingerprint, inputs, counts FROM artifacts ORDER BY created_at;
```

## Labels

`labels(alpha)` is a table macro: one row `(artifact, block_id, position, label, reason)` for every position of every
logits artifact, whose fingerprint stands in `artifact`. Position `t` shall predict `label` (not shifted); where `label`
is NULL, `reason` says why the position does not train. The view `labels` holds the same columns at the alpha that each
job chose, and its `artifact` is the labels artifact.
"""


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name, table in TABLES.items():
        made_by = [("artifact", "string", "fingerprint of the artifact that made the row")]
        columns = made_by + [(column, str(kind), meaning) for column, (kind, meaning) in table.columns.items()]
        parts.append(_section(name, table.comment, columns))
    for name, (comment, book) in SQL_TABLES.items():
        parts.append(_section(name, comment, [(column, kind, meaning) for column, (kind, meaning) in book.items()]))
    return "\n".join(parts)


def _section(name: str, comment: str, columns: list[tuple[str, str, str]]) -> str:
    rows = "\n".join(f"| {column} | {kind.replace('element: ', '')} | {meaning} |" for column, kind, meaning in columns)
    return f"## {name}\n\n{comment}.\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    print(page(), end="")
