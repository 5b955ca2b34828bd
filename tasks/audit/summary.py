"""audit: what all attacks on one model found, in one place: their numbers, their verdicts, items, and a page.

The verdicts are made from the attacks' rows, without loading a model. The page quotes the text, as the report does.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.artifact import Artifact
from storage.shards import read_shard
from tasks.audit import ATTACK_OF, ATTACKS, METRICS
from tasks.audit.verdicts import HELD, WORDS, AuditValues, Ruling, against_gold, key_in_audit, numbers, percent
from tasks.contents import AUDIT_EVIDENCE, AUDIT_ITEMS, AUDIT_PAGE, ITEMS, Row, evaluation_rows, write_json
from tasks.drawing.template import rendered
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.intervals import Value, change_between, groups_of, value_of
from tasks.measure.verdict import Verdict
from tasks.models import Model


@stage("audit", version=1, protected=True)
def audit(
    context: Context, model: Model, attacks: list[Artifact], missing: dict[str, str], *, request: str = ""
) -> Counts:
    """Write audit.json (numbers and verdicts), items.json (texts behind them) and audit.html (both).

    `request`: the earlier job by whose text the attacks asked, where it is not the job's own.
    """
    from tasks.audit.page import exhibits, parts

    folders = [context.path(attack) for attack in attacks]
    summary = {"job": request or context.artifact.name, "audited": model.fingerprint} | audit_summary(folders, missing)
    items = exhibits(folders, summary)
    write_json(context.folder / AUDIT_EVIDENCE, summary)
    write_json(context.folder / AUDIT_ITEMS, items)
    page = rendered("audit_page.html.j2", audit=summary, **parts(summary, items))
    (context.folder / AUDIT_PAGE).write_text(page, encoding="utf-8")
    return {"attacks": len(attacks), "measures": len(summary["measures"])}


def audit_summary(folders: Sequence[Path], missing: Mapping[str, str] | None = None) -> Row:
    """An audit's numbers: {"models": [...], "measures": [...], "verdicts": [...], "held": ..., "headline": ...}.

    A measure is {attack, metric, task, meaning, share, values: {model: {value, low, high, stderr, items}}, changes:
    {reference: {difference, low, high}}}, with 95 % intervals; a model is baseline, gold, or the audited one as "model"
    (role and step in `models`), whose changes are. `missing`: attacks that were not made, and why.
    """
    rows = [row for row in evaluation_rows(*folders) if row["metric"] in METRICS]
    values = values_of(rows, [row for folder in folders for row in _scores(folder)])
    roles = {key_in_audit(row["model"]): {"role": row["model"], "step": row["step"]} for row in rows}
    judged = verdicts(values, missing)
    return {
        "models": [{"key": key} | role for key, role in roles.items()],
        "measures": [_measure(values, metric, task) for metric, task in values.measures()],
        "verdicts": [verdict.row("attack") for verdict in judged],
        "held": held(values),
        "headline": " ".join(filter(None, (headline(judged), *(a.headline(values) for a in ATTACKS.values())))),
    }


def values_of(rows: Iterable[Row], items: Iterable[Row] = ()) -> AuditValues:
    """Rows of `evaluations` as values; with rows of `evaluation_items` they can be compared on the same items."""
    behind: dict[tuple[str, str, str], list[Row]] = {}
    for item in items:
        behind.setdefault(_place(item), []).append(item)
    values = {}
    for row in rows:
        form = METRICS[row["metric"]].form
        groups = groups_of(form, behind.get(_place(row), []))
        values[_place(row)] = value_of(form, row["value"], row["stderr"], row["items"], groups)
    return AuditValues(values)


def _place(row: Row) -> tuple[str, str, str]:
    return key_in_audit(row["model"]), row["metric"], row["task"]


def _measure(values: AuditValues, metric: str, task: str) -> Row:
    about = METRICS[metric]
    known = {model: value for model in values.models if (value := values.of(model, metric, task))}
    return {
        "attack": ATTACK_OF[metric],
        "metric": metric,
        "task": task,
        "meaning": about.meaning,
        "share": about.share,
        "values": {
            model: {"value": value.value, "low": value.low, "high": value.high}
            | {"stderr": value.stderr, "items": value.count}
            for model, value in known.items()
        },
        "changes": _changes(values.of("model", metric, task), known),
    }


def _changes(audited: Value | None, known: Mapping[str, Value]) -> Row:
    """The audited model minus baseline and gold, item by item."""
    changes = {}
    for name in ("baseline", "gold"):
        reference = known.get(name)
        if audited and reference and audited.groups and audited is not reference:
            change = change_between(audited, reference)
            changes[name] = {"difference": change.difference, "low": change.low, "high": change.high}
    return changes


def verdicts(values: AuditValues, missing: Mapping[str, str] | None = None) -> list[Verdict]:
    """A verdict for every attack that was made, and one for each that could not be."""
    kinds = [kind for kind, attack in ATTACKS.items() if any(map(values.tasks, attack.metrics))]
    rulings: dict[str, Ruling] = {kind: ATTACKS[kind].judge(values) for kind in kinds}
    rulings |= {name: ("not made", f"Not made: {why}.") for name, why in (missing or {}).items()}
    return [Verdict(name, status, WORDS[status], sentence) for name, (status, sentence) in rulings.items()]


def held(values: AuditValues) -> str:
    """What the model holds by the two plain measures that deserve most trust; empty where neither was taken."""
    cases = [
        against_gold(values, metric, "target", name, values.of("model", metric, "control"), "text never read")
        for metric, name in HELD.items()
    ]
    return " ".join(f"{numbers(case, percent)}." for case in cases if case.model)


def headline(judged: Iterable[Verdict]) -> str:
    """What an adversary gets back, in a sentence or two: the gravest first, and what no attack could tell."""
    leaks = {kind: attack.leak for kind, attack in ATTACKS.items() if attack.leak}
    judged = [verdict for verdict in judged if verdict.about in leaks]
    said = {
        "Most of what the baseline knew comes back by {}.": ("most",),
        "Some of it comes back by {}.": ("some",),
        "What shows may be chance in {}.": ("unsure",),
        "The text stands out as avoided in {}.": ("avoided",),
        "Nothing comes back by {}.": ("nothing",),
        "Not known: {}.": ("blind", "alone", "not made"),
    }
    names = {form: [leaks[v.about] for v in judged if v.status in statuses] for form, statuses in said.items()}
    return " ".join(form.format(_listed(those)) for form, those in names.items() if those) or "No attack was made."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _scores(folder: Path) -> list[Row]:
    """The items without their texts."""
    columns = ["model", "metric", "task", "item", "score", "details"]
    table = read_shard(folder / ITEMS).select(columns)
    rows: list[Row] = table.filter(pc.is_in(table["metric"], pa.array(list(METRICS)))).to_pylist()
    return rows
