"""The table by step, in the shape of the paper's: the baseline is step 0, then every kept step, gold last."""

from tasks.contents import Row


def table_by_step(evidence: Row) -> Row:
    """{columns, rows: [{name, kind, cells}]}; a cell is (value, change against the baseline), either may be None."""
    models = evidence["models"]
    columns = [{"title": title(model), "final": model["key"] == evidence["final"]} for model in models]
    table_rows = []
    for measure in evidence["measures"]:
        values = {value["subject"]: value for value in measure["values"]}
        changes = {change["subject"]: change for change in measure["changes"] if change["against"] == "baseline"}
        cells = [(values.get(model["key"]), changes.get(model["key"])) for model in models]
        table_rows.append({"name": measure["name"], "kind": measure["kind"], "cells": cells})
    return {"columns": columns, "rows": table_rows}


def title(model: Row) -> str:
    """The head of a model's column."""
    if model["role"] == "student":
        return str(model["step"])
    return "0" if model["role"] == "baseline" else str(model["key"])
