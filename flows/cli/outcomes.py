"""What a run, an ablation, an audit or a plan came to: as numbers, and as a table for a person."""

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from flows.cli.options import rows_as_text
from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.contents import (
    ABLATION_EVIDENCE,
    ABLATION_PAGE,
    AUDIT_EVIDENCE,
    AUDIT_PAGE,
    REPORT_EVIDENCE,
    REPORT_PAGE,
    evaluation_rows,
    read_json,
)


def summary(outcome: Any, workspace: Workspace) -> dict[str, Any]:
    """What an Outcome showed: {"baseline": {...}, "unlearned": {...}, "gold": {...}, "model": path, "report": path}."""
    by_role: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation_rows(*map(workspace.path, outcome.evaluations)):
        if row["model"] != "student" or row["step"] == outcome.step:
            role = "unlearned" if row["model"] == "student" else row["model"]
            by_role.setdefault(role, []).append(row)
    numbers: dict[str, Any] = {role: measures(rows) for role, rows in by_role.items()}
    places = {"model": outcome.model, "report": page_of(outcome.report, workspace)}
    earlier = read_json(workspace.path(outcome.report) / REPORT_EVIDENCE).get("earlier", [])  # an old report has none
    said = {"earlier": {request["job"]: request["headline"] for request in earlier}} if earlier else {}
    return numbers | {"step": outcome.step} | said | places


def measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One model's evaluation as {metric: value} with the benchmarks' accuracies by task."""
    plain = {f"{row['metric']} {row['task']}".rstrip(): row["value"] for row in rows if row["metric"] != "accuracy"}
    return plain | {"benchmarks": {row["task"]: row["value"] for row in rows if row["metric"] == "accuracy"}}


def summary_table(numbers: dict[str, Any]) -> str:
    models = [name for name in ("baseline", "unlearned", "gold") if name in numbers]
    table = rows_as_text(["", *models], measure_rows([numbers[model] for model in models]))
    said = "".join(f"\nearlier {job}: {headline}" for job, headline in numbers.get("earlier", {}).items())
    return f"\n{table}\n{said}\nmodel   {numbers['model']}  (step {numbers['step']})\nreport  {numbers['report']}"


def measure_rows(models: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """A row a measure, the benchmarks last: its name, and the value of every model."""
    rows = [
        (name.replace("_", ", "), *(f"{model[name]:.4f}" for model in models))
        for name in models[0]
        if name != "benchmarks"
    ]
    tasks = models[0]["benchmarks"]
    return rows + [(task, *(f"{model['benchmarks'][task]:.4f}" for model in models)) for task in tasks]


def page_of(report: Artifact | None, workspace: Workspace) -> str:
    """Where a report lies; empty without one."""
    return str(workspace.path(report) / REPORT_PAGE) if report else ""


def ablation_numbers(compared: Any, workspace: Workspace) -> dict[str, Any]:
    """All numbers of a Compared, and where its pages lie."""
    folder = workspace.path(compared.ablation)
    places = {"page": str(folder / ABLATION_PAGE), "report": page_of(compared.report, workspace)}
    return dict(read_json(folder / ABLATION_EVIDENCE)) | places


def ablation_table(numbers: dict[str, Any]) -> str:
    """The values at the last step for a person, with the verdict."""
    from tasks.ablation import arms  # and with it DuckDB, which other commands do without

    last, columns = str(numbers["steps"][-1]), (arms.REINFORCEMENT, arms.ANCHORS, arms.BOTH)
    rows: list[tuple[Any, ...]] = []
    for measure in numbers["measures"]:
        values = [measure["baseline"], *(measure["arms"][arm].get(last) for arm in columns), measure["gold"]]
        rows.append((measure["name"], *map(_shown, values)))
    table = rows_as_text([f"after {last} steps", "baseline", *columns, "gold"], rows)
    report = f"\nreport  {numbers['report']}" if numbers["report"] else ""
    return f"\n{table}\n\n{numbers['headline']}\n\npage    {numbers['page']}{report}"


def audit_numbers(audit: Any, workspace: Workspace) -> dict[str, Any]:
    """All numbers and verdicts of an Audit, and where its pages lie."""
    folder = workspace.path(audit.audit)
    places = {"model": audit.model, "page": str(folder / AUDIT_PAGE), "report": page_of(audit.report, workspace)}
    before = {job: read_json(workspace.path(made) / AUDIT_EVIDENCE) for job, made in audit.earlier.items()}
    return dict(read_json(folder / AUDIT_EVIDENCE)) | ({"earlier": before} if before else {}) | places


def audit_table(numbers: dict[str, Any]) -> str:
    """A summary for a person: a row a measure, then a sentence an attack."""
    models = [key for key in ("baseline", "model", "gold") if any(model["key"] == key for model in numbers["models"])]
    rows: list[tuple[Any, ...]] = [
        (
            measure["attack"],
            measure["metric"],
            measure["task"],
            *(_shown(measure["values"].get(model)) for model in models),
        )
        for measure in numbers["measures"]
    ]
    table = rows_as_text(["attack", "measure", "", *("audited" if key == "model" else key for key in models)], rows)
    said = "\n".join(f"{verdict['attack']}: {verdict['sentence']}" for verdict in numbers["verdicts"])
    places = [f"{name:<7} {numbers[name]}" for name in ("model", "page", "report") if numbers[name]]
    headline = f"{numbers['headline']} {numbers.get('held', '')}".rstrip()
    before = [f"earlier {job}: {audit['headline']}" for job, audit in numbers.get("earlier", {}).items()]
    return "\n".join(["", table, "", said, "", headline, *before, "", *places])


def _shown(value: dict[str, Any] | None) -> str:
    return f"{value['value']:.4f}" if value else ""


def plan_table(rows: list[dict[str, Any]]) -> str:
    """The rows for a person, and what must be set, or known, so that the models find room."""
    several = any(row["gpus"] > 1 for row in rows)
    names = ["stage", "", "time", "PFLOP", *(["GPUs"] if several else []), "memory GiB", "fits", "disk GiB", "artifact"]
    cells = [
        (
            row["stage"],
            "if wanted" if row["optional"] else "cached" if row["cached"] else "to do",
            _duration(row["seconds"]) if row["seconds"] else "",
            f"{row['flops'] / 1e15:.3g}",
            *([row["gpus"] or ""] if several else []),
            f"{row['gpu_bytes'] / 2**30:.3g}",
            ("yes" if row["fits"] else "no") if row["gpu_bytes"] else "",
            f"{row['disk_bytes'] / 2**30:.3g}",
            row["artifact"],
        )
        for row in rows
    ]
    device = f"{rows[0]['device']}, {rows[0]['memory_bytes'] / 2**30:.3g} GiB"
    sentences = dict.fromkeys(sentence for row in rows for sentence in row["told"].splitlines())
    needed = [row for row in rows if not row["optional"]]
    return "\n\n".join([device, rows_as_text(names, cells), _total(needed, several), *sentences])


def _total(rows: list[dict[str, Any]], several: bool) -> str:
    total = {name: sum(row[name] for row in rows) for name in ("flops", "gpu_hours", "seconds", "disk_bytes")}
    time = _duration(total["seconds"])
    if several:
        time = f"{total['gpu_hours']:.2g} GPU-hours, {time} on as many as the table has"
    tokens = max(row["tokens"] for row in rows)
    asked = [
        f"; {row['requests']:,} requests to a language model, about {row['tokens']:,} tokens"
        for row in rows
        if row["requests"]
    ]
    return (
        f"{sum(row['cached'] for row in rows)} of {len(rows)} cached; to do: about {time} with models "
        f"({total['flops'] / 1e15:.3g} PFLOP), {total['disk_bytes'] / 2**30:.3g} GiB of disk; "
        f"at most {tokens:,} tokens a stage{''.join(asked)}"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def tuned_table(numbers: dict[str, Any]) -> str:
    """The grid for a person, and the section of a job that is suggested."""
    names = list(numbers["baseline"])
    rows: list[tuple[Any, ...]] = [
        (f"{arm['learning_rate']:g}", arm["steps"], *(f"{arm['measures'][name]:.4f}" for name in names), arm["held"])
        for arm in numbers["arms"]
    ]
    rows = [("baseline", "", *(f"{numbers['baseline'][name]:.4f}" for name in names), ""), *rows]
    table = rows_as_text(["rate", "steps", *(name.replace("_", ", ") for name in names), "enough"], rows)
    limits = ", ".join(f"{name} {value:g}" for name, value in numbers["rule"].items())
    verdict = "The cheapest that is enough" if numbers["held"] else "None is enough; this one oversteps least"
    said = "\n".join([f"{verdict} ({limits}):", *(f"  {reason}" for reason in numbers["reasons"])])
    section = "\n".join(["[student]", *(f"{name} = {value}" for name, value in numbers["student"].items())])
    return f"\n{table}\n\n{said}\n\n{section}"


def real_numbers(experiment: Any, workspace: Workspace) -> dict[str, Any]:
    """An Experiment in numbers: {"baseline": ..., "unlearned": ..., "paper": ..., "steps": ..., "report": path}.

    A model has its measures, and `relearned`: familiarity by probability by steps of finetuning, at the worst rate.
    That of "invented names" is the baseline's on names that nobody knows.
    """
    by_recipe = {name: summary(outcome, workspace) for name, outcome in experiment.outcomes.items()}
    numbers = {"baseline": by_recipe["unlearned"]["baseline"]}
    numbers |= {name: outcome["unlearned"] for name, outcome in by_recipe.items()}
    for name, attacks in experiment.relearned.items():
        numbers[name] = numbers.get(name, {}) | {"relearned": relearned_at_worst(attacks, workspace)}
    steps = {name: measures_by_step(outcome, workspace) for name, outcome in experiment.outcomes.items()}
    return numbers | {"steps": steps} | {place: by_recipe["unlearned"][place] for place in ("report", "model")}


def relearned_at_worst(attacks: tuple[Artifact, ...], workspace: Workspace) -> dict[str, float]:
    """Familiarity by steps of finetuning, after each number of them at the rate that has brought most back by then."""
    curves = [
        {row["task"].split(" ")[1]: row["value"] for row in evaluation_rows(workspace.path(attack))}
        for attack in attacks
    ]
    return {steps: max(curve[steps] for curve in curves) for steps in curves[0]}


def measures_by_step(outcome: Any, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The measures of every model of a run, the baseline as step 0."""
    by_step: dict[str, list[dict[str, Any]]] = {}
    for row in evaluation_rows(*map(workspace.path, outcome.evaluations)):
        by_step.setdefault(str(row["step"] or 0), []).append(row)
    return {step: measures(rows) for step, rows in sorted(by_step.items(), key=lambda pair: int(pair[0]))}


def over_seeds(numbers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of one experiment; of several their means, by the same names, beside `seeds` and `spread`, the lowest
    and the highest of each. What is no number is the first one's."""
    if len(numbers) == 1:
        return numbers[0]
    means: dict[str, Any] = _combined(numbers, fmean)
    spread = _combined(numbers, lambda values: [min(values), max(values)])
    return means | {"seeds": len(numbers), "spread": spread}


def _combined(values: Sequence[Any], how: Callable[[Sequence[float]], Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        names = [name for name in first if all(name in value for value in values)]
        return {name: _combined([value[name] for value in values], how) for name in names}
    return how(values) if isinstance(first, int | float) else first


def real_table(numbers: dict[str, Any]) -> str:
    """The paper's table by step for each recipe, then what comes back by relearning; means where there are seeds."""
    parts = []
    for name, title in (("paper", "the paper's recipe"), ("unlearned", "our recipe")):
        steps = numbers["steps"][name]
        parts.append(rows_as_text([f"{title}, by step", *steps], measure_rows(list(steps.values()))))
    curves = {name: numbers[name]["relearned"] for name in ("baseline", "invented names", "paper", "unlearned")}
    rows = [(name, *(f"{value:.4f}" for value in curve.values())) for name, curve in curves.items()]
    parts.append(rows_as_text(["relearned, worst rate, after steps", *curves["baseline"]], rows))
    if "spread" in numbers:
        parts.append(_spread_table(numbers))
    return "\n" + "\n\n".join([*parts, f"model   {numbers['model']}\nreport  {numbers['report']}"])


def _spread_table(numbers: dict[str, Any]) -> str:
    """The lowest and the highest of the seeds."""
    names = [name for name in ("baseline", "paper", "unlearned", "invented names") if name in numbers["spread"]]
    spreads = [dict(_flat(numbers["spread"][name])) for name in names]
    rows = [
        (measure, *("{:.4f} to {:.4f}".format(*spread[measure]) if measure in spread else "" for spread in spreads))
        for measure in spreads[0]
    ]
    return rows_as_text([f"lowest and highest of {numbers['seeds']} seeds", *names], rows)


def _flat(spread: dict[str, Any], within: str = "") -> Iterator[tuple[str, list[float]]]:
    """(name, [lowest, highest]) of every measure; `relearned 40` of what has measures of its own."""
    for name, value in spread.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name} ")
        else:
            yield f"{within}{name}".removeprefix("benchmarks ") if within else name.replace("_", ", "), value
