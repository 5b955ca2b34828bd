"""The model card: README.md as the Hugging Face hub wants it, its metadata in front.

A card is public and the text is not: what was unlearned appears by hash.
"""

from dataclasses import dataclass

from tasks.contents import Row
from tasks.drawing.numbers import fixed
from tasks.drawing.table import escaped, table_by_step
from tasks.report.record import FILE, Record, Stored

TAGS = ["unlearning", "machine-unlearning", "approximate-unlearning", "nepenthe", "arxiv:2310.02238"]
CITATION = """```bibtex
@misc{eldan2023whos,
  title = {Who's Harry Potter? Approximate Unlearning in LLMs},
  author = {Ronen Eldan and Mark Russinovich},
  year = {2023},
  eprint = {2310.02238},
  archivePrefix = {arXiv}
}
```"""
LIMITS = (
    "Unlearning of this kind is approximate. It lowers what the model shows of the text; it does not prove that "
    "nothing is left in the weights, and it gives no guarantee against an adversary.",
    "More than the text may have been forgotten: what other sources say about the same subject is affected, too.",
    "Knowledge may come back when the model is finetuned, on the text or on related text, and rounding the weights "
    "to few bits may bring back some of it.",
    "The tests ask with prompts that were known beforehand. Other prompts, languages, ways of asking were not tried.",
)
HASHES = 20  # documents listed by hash on the card; all are in the record


@dataclass(frozen=True)
class Hub:
    """What the hub wants to know and nobody but the publisher does."""

    base_model: str | None = None
    """The baseline's name on the hub, owner/name."""
    license: str | None = None
    """Identifier of the licence; that of the baseline mostly decides."""


def card(record: Record, evidence: Row, hub: Hub, name: str) -> str:
    """The whole README.md."""
    parts = [
        f"---\n{metadata(record, hub, name)}\n---",
        f"# {escaped(name)}",
        _what(record, evidence, hub),
        _text(record),
        _method(record, evidence),
        f"## Results\n\n{results(evidence)}",
        "\n".join(f"- {sentence}" for sentence in record.verdicts),
        *_attacks(record),
        *_earlier(record),
        "## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in LIMITS),
        "What was not tested:\n\n" + "\n".join(f"- {escaped(sentence)}" for sentence in record.untested),
        _making(record),
        f"## Citation\n\n{CITATION}",
    ]
    return "\n\n".join(parts) + "\n"


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


def results(evidence: Row) -> str:
    """Baseline, this model and gold, with the change and its interval, as a Markdown table."""
    table = table_by_step(evidence)
    places = [n for n, column in enumerate(table["columns"]) if column["final"] or column["title"] in ("0", "gold")]
    titles = {"0": "before"} | {column["title"]: "this model" for column in table["columns"] if column["final"]}
    heads = [titles.get(title, title) for title in (str(table["columns"][n]["title"]) for n in places)]
    lines = [f"| measure | {' | '.join(heads)} | change (95 % interval) |", "|---|" + "---:|" * (len(heads) + 1)]
    for row in table["rows"]:
        values = [fixed(value and value["value"]) for value, _ in (row["cells"][n] for n in places)]
        changes = [row["cells"][n][1] for n in places if table["columns"][n]["final"]]
        lines.append(f"| {escaped(row['name'])} | {' | '.join(values)} | {_change(changes[0] if changes else None)} |")
    note = "Lower is better for familiarity (how much of the text a model shows) and perplexity, higher for benchmarks."
    relative = " The change of perplexity is relative."
    gold = " Gold is a model that never read the text." if "gold" in heads else ""
    return "\n".join(lines) + f"\n\n{note}{gold}{relative}"


def _change(change: Row | None) -> str:
    if change is None:
        return ""
    return f"{fixed(change['difference'])} ({fixed(change['low'])} to {fixed(change['high'])})"


def _what(record: Record, evidence: Row, hub: Hub) -> str:
    base = f"[{hub.base_model}](https://huggingface.co/{hub.base_model})" if hub.base_model else "a model"
    parameters = f"{evidence['model']['parameters']:,}"
    missing = [
        f"`{name}`" for name, value in (("base_model", hub.base_model), ("license", hub.license)) if value is None
    ]
    note = f"\n\nThe publisher has yet to fill in {' and '.join(missing)} in the metadata above." if missing else ""
    return (
        f"This is {base} ({escaped(evidence['model']['architecture'])}, {parameters} parameters) after approximate "
        f"unlearning of a body of text.{note}"
    )


def _text(record: Record) -> str:
    text = record.text
    listed = "\n".join(f"- `{hash}`" for hash in text.sha256[:HASHES])
    more = len(text.sha256) - HASHES
    rest = f"\n- and {more} more, in the record" if more > 0 else ""
    return (
        "## What was unlearned\n\n"
        f"{text.documents:,} documents with {text.characters:,} characters ({text.tokens:,} tokens). Whoever has "
        f"the text can recognise it by the SHA-256 of each document's normalised text:\n\n{listed}{rest}\n\n"
        f"Dictionary of {record.dictionary.anchors:,} expressions that are peculiar to it: "
        f"SHA-256 `{record.dictionary.sha256}`."
    )


def _method(record: Record, evidence: Row) -> str:
    training = evidence["training"]["student"]["settings"]
    reasons = "\n".join(f"- {escaped(reason)}" for reason in record.choice)
    return (
        "## How\n\n"
        "The method of Eldan and Russinovich (2023, [arXiv 2310.02238](https://arxiv.org/abs/2310.02238)): for "
        "every token of the text it is estimated what a model that never read it would predict, from the model's "
        "predictions on a translation with generic expressions and from what rises when the model is trained further "
        "on the text; then the model is finetuned on these generic labels. "
        f"Alpha {evidence['alpha']:g}, learning rate {training['learning_rate']:g}, "
        f"{record.unlearned.step} steps of {training.get('batch', 'some')} blocks.{_form(record.stored)}"
        f"\n\nWhy this step:\n\n{reasons}"
    )


def _form(stored: Stored | None) -> str:
    """What is left of the update in the weights as they are stored; nothing where they are as they were trained."""
    if stored is None or stored.seed is None:
        return ""
    words = f" The weights are {stored.dtype}, rounded stochastically (seed {stored.seed})"
    if stored.kept is None:
        return f"{words}; the baseline was not at hand to say how much of the update that keeps."
    by_layer = stored.layers.values()
    return (
        f"{words}, which keeps {stored.kept:.1%} of the update (by layer {min(by_layer):.1%} to {max(by_layer):.1%}); "
        "the results below are those of the unrounded model."
    )


def _attacks(record: Record) -> list[str]:
    """The audit's verdicts; nothing where none was made, for then the limits say so."""
    if record.audit is None:
        return []
    lines = ["| attack | verdict |", "|---|---|"]
    lines += [f"| {escaped(verdict.attack)} | {escaped(verdict.sentence)} |" for verdict in record.audit.verdicts]
    return ["## What an adversary gets back", record.audit.headline, "\n".join(lines)]


def _earlier(record: Record) -> list[str]:
    """A line a request before this one; nothing where this is the first."""
    lines = [f"- {escaped(request.job)}: {request.headline} {request.audit}".rstrip() for request in record.earlier]
    return ["## Earlier requests on the same model, still in force", "\n".join(lines)] if lines else []


def _making(record: Record) -> str:
    known = {artifact.fingerprint: artifact for artifact in record.artifacts}
    last = known.get(record.unlearned.fingerprint, record.artifacts[-1])
    machine, software = last.hardware, ", ".join(f"{name} {version}" for name, version in last.software.items())
    on = ", ".join(machine.get("gpus") or []) or machine.get("processor") or "an unknown machine"
    return (
        "## How it was made\n\n"
        f"With nepenthe on {escaped(on)} ({last.device or 'device unknown'}), {last.at}: {record.hours:g} hours of "
        f"stages, of which {record.gpu_hours:g} on a GPU. Software: {escaped(software) or 'unknown'}.\n\n"
        f"`{FILE}` holds the hashes of text, dictionary, models and code, all settings and seeds, and every result. "
        "`nepenthe verify FOLDER` recomputes the hashes of this folder's files."
    )
