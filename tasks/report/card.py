"""The model card: README.md as the Hugging Face hub wants it, its metadata in front.

A card is public and the text is not: what was unlearned appears by hash.
"""

from dataclasses import dataclass

from tasks.contents import Row
from tasks.drawing.table import table_by_step
from tasks.drawing.template import markdown
from tasks.report.record import FILE, Record

TAGS = ["unlearning", "machine-unlearning", "approximate-unlearning", "nepenthe", "arxiv:2310.02238"]
LIMITS = (
    "Unlearning of this kind is approximate. It lowers what the model shows of the text; it does not prove that "
    "nothing is left in the weights, and it gives no guarantee against an adversary.",
    "More than the text may have been forgotten: what other sources say about the same subject is affected, too.",
    "Knowledge may come back when the model is finetuned, on the text or on related text, and rounding the weights "
    "to few bits may bring back some of it.",
    "The tests ask with prompts that were known beforehand. Other prompts, languages, ways of asking were not tried.",
)


NOT_THE_PAPERS = {
    ("logits", "equation", "log_probabilities"): "The estimate works on log-probabilities in place of logits.",
    ("labels", "soft"): "Labels are to {:.0%} whole distributions.",
    ("student", "hardening"): "They were learned a second time with the weights moved by {:g} times what the further "
    "training changed.",
    ("student", "retain"): "Text to keep was {:.0%} of every batch.",
    ("student", "null_space"): "Updates stayed out of {:.0%} of the directions that such text uses most.",
    ("student", "lora"): "Adapters of rank {:g} were trained and merged, not the weights themselves.",
}
"""What a reader of the card should know where a setting is not the paper's: by stage, setting and, if any, value."""


@dataclass(frozen=True)
class Hub:
    """What the hub wants to know and nobody but the publisher does."""

    base_model: str | None = None
    """The baseline's name on the hub, owner/name."""
    license: str | None = None
    """Identifier of the licence; that of the baseline mostly decides."""


def card(record: Record, evidence: Row, hub: Hub, name: str) -> str:
    """The whole README.md."""
    made = {artifact.fingerprint: artifact for artifact in record.artifacts}
    last = made.get(record.unlearned.fingerprint, record.artifacts[-1])
    parts = {"record": record, "evidence": evidence, "hub": hub, "name": name, "last": last, "file": FILE}
    parts |= {"metadata": metadata(record, hub, name), "results": results(evidence), "limits": LIMITS}
    parts |= {"departures": departures(evidence)}
    parts |= {"software": ", ".join(f"{package} {version}" for package, version in last.software.items())}
    return markdown("card.md.j2", parts | {"training": evidence["training"]["student"]["settings"]}) + "\n"


def departures(evidence: Row) -> list[str]:
    """A sentence for each setting that is not the paper's."""
    settings = {row["kind"]: (row["inputs"] or {}).get("settings") or {} for row in evidence["record"]}
    used = ((settings.get(kind, {}).get(name), value, words) for (kind, name, *value), words in NOT_THE_PAPERS.items())
    return [words.format(setting) for setting, value, words in used if setting and (not value or setting in value)]


def metadata(record: Record, hub: Hub, name: str) -> str:
    """The YAML in front. What the publisher did not say is left out, not guessed."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=result.task or result.metric,
            dataset_name=result.task or result.metric.replace("_", ", "),
            metric_type="accuracy" if result.metric == "accuracy" else result.metric,
            metric_value=round(result.value, 6),
        )
        for result in record.results
        if result.model == "student" and result.step == record.unlearned.step
    ]
    data = ModelCardData(
        base_model=hub.base_model,
        license=hub.license,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=TAGS,
        model_name=name,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def results(evidence: Row) -> Row:
    """{heads, rows: [{name, values, change}]} of baseline, this model and gold; the change is this model's."""
    table = table_by_step(evidence)
    places = [n for n, column in enumerate(table["columns"]) if column["final"] or column["title"] in ("0", "gold")]
    titles = {"0": "before"} | {column["title"]: "this model" for column in table["columns"] if column["final"]}
    heads = [titles.get(title, title) for title in (table["columns"][n]["title"] for n in places)]
    rows = []
    for row in table["rows"]:
        values = [value and value["value"] for value, _ in (row["cells"][n] for n in places)]
        changes = (row["cells"][n][1] for n in places if table["columns"][n]["final"])
        rows.append({"name": row["name"], "values": values, "change": next(changes, None)})
    return {"heads": heads, "rows": rows}
