"""The record that travels with an exported model: what was done to it, with which evidence, as JSON with a schema.

It names the text by hashes and never quotes it: no anchor, no prompt, no file name of the corpus.
`python -m tasks.report.record` prints the schema, which is docs/record.schema.json.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from storage.settings import Settings
from tasks.contents import Row

FILE = "unlearning-record.json"
SPOKEN = ("subject", "told")
"""Settings in a user's own words: the judge's subject, the instruction of an audit."""


class Text(Settings):
    """The text that was forgotten, by hash."""

    fingerprint: str
    """Address of the corpus artifact."""
    documents: int
    """Documents, without empty ones and exact duplicates."""
    characters: int
    """Their length."""
    tokens: int
    """Their length in tokens of the model."""
    sha256: tuple[str, ...]
    """SHA-256 of each document's normalised text (UTF-8), in the order of the corpus."""


class Anchors(Settings):
    """The dictionary, by hash."""

    fingerprint: str
    """Address of the dictionary artifact."""
    anchors: int
    """Entries."""
    sha256: str
    """SHA-256 of its canonical JSON file."""


class Weights(Settings):
    """A model, by hash."""

    fingerprint: str
    """Of a model that was given: the first 16 hexadecimal digits of the SHA-256 over the SHA-256 sums of config,
    weights and tokenizer, one a line. Of one that was made: the address of its artifact."""
    step: int | None = None
    """Unlearning step."""
    source: str = ""
    """owner/name@commit on the hub, of a model that was named so."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 by file name. Of a model that was given in the order of its fingerprint, and empty where its folder was
    not at hand any more."""


class Stored(Settings):
    """The form of the exported weights, and how much of what unlearning changed is left in it."""

    dtype: str
    """float32, bfloat16 or float16."""
    seed: int | None = None
    """Of the stochastic rounding; null where the weights are as they were trained."""
    kept: float | None = None
    """Share of the update, <stored - before, after - before> / |after - before|^2: 1 where nothing is lost; null where
    the baseline was not at hand, or the training itself saved in fewer bits."""
    layers: dict[str, float] = Field(default_factory=dict)
    """The same by layer."""


class Result(Settings):
    """A measure of one model with its 95 % interval."""

    model: str
    """baseline, student or gold."""
    step: int | None
    """Unlearning step of a student."""
    metric: str
    """familiarity_probability, familiarity_completion, familiarity_judged, perplexity, accuracy, or a measure of the
    audit."""
    task: str
    """Benchmark, or condition of an attack; empty where the metric says everything."""
    value: float
    """The measure."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    items: int
    """Items that were scored."""


class Attack(Settings):
    """What one attack of the audit came to."""

    attack: str
    """Its name."""
    status: str
    """The rule that held: most, some, unsure, avoided, nothing, blind, alone, kept, harmed, weaker, enough, natural,
    marked, not made."""
    sentence: str
    """The same in words, with the numbers."""


class Audit(Settings):
    """What an adversary gets back from the model."""

    fingerprint: str
    """Address of the audit artifact."""
    headline: str
    """All attacks in a sentence or two."""
    verdicts: tuple[Attack, ...]
    """One an attack."""
    results: tuple[Result, ...]
    """Every measure of the audited model, of baseline and gold."""


class EarlierRequest(Settings):
    """A request that was carried out before on the same model and is still in force."""

    job: str
    """The job that carried it out."""
    text: str
    """Address of its corpus."""
    sha256: tuple[str, ...]
    """SHA-256 of each document's normalised text."""
    labels: str
    """Address of its labels, which were learned again beside those of this request."""
    headline: str
    """How this model stands to that text, in a sentence."""
    verdicts: tuple[str, ...]
    """The same by measure."""
    audit: str
    """What an adversary gets back of that text; empty where no attack was made."""


class Made(Settings):
    """One artifact on the way to the model."""

    kind: str
    """Stage that made it."""
    fingerprint: str
    """Hash of the stage, its version and its inputs."""
    version: int
    """Version of the stage's meaning."""
    inputs: dict[str, Any]
    """Fingerprints and settings that it was made from; of settings in a user's own words the SHA-256."""
    seconds: float
    """Wall time, since the stage was last resumed."""
    at: str
    """When it was finished, UTC."""
    by: str
    """User who ran it."""
    device: str | None
    """cpu or cuda; null where no model was loaded or nobody noted it."""
    hardware: dict[str, Any]
    """The machine."""
    software: dict[str, str]
    """Versions at that time, and a hash of nepenthe's source."""


class Record(Settings):
    """What was done to a model to make it forget a text, and what that did."""

    format: Literal["nepenthe unlearning record"] = "nepenthe unlearning record"
    """Says what this file is."""
    schema_version: Literal[1] = 1
    """Version of this schema."""
    method: str = "approximate unlearning with generic labels, arXiv:2310.02238"
    """The method."""
    exported_at: str
    """When the model was exported, UTC."""
    exported_by: str
    """User who exported it."""
    text: Text
    """What was forgotten."""
    dictionary: Anchors
    """Expressions peculiar to the text, with their counterparts."""
    baseline: Weights
    """The model before."""
    reinforced: Weights | None
    """The model that was trained further on the text; null where none is known."""
    unlearned: Weights
    """The model after: the files beside this record."""
    stored: Stored | None = None
    """How the model after is stored; null in records of an earlier release."""
    choice: tuple[str, ...]
    """Why this step was kept."""
    verdicts: tuple[str, ...]
    """What was forgotten and what was kept, in a sentence each."""
    results: tuple[Result, ...]
    """Every measure of every model."""
    audit: Audit | None = None
    """The attacks on this model; null where none were made."""
    earlier: tuple[EarlierRequest, ...] = ()
    """The requests before this one on the same model, the first first."""
    untested: tuple[str, ...]
    """What no test looked at."""
    seeds: dict[str, int]
    """Every seed, by stage and setting."""
    gpu_hours: float
    """Hours that stages ran on GPUs, one GPU each; 0 where all ran on CPUs."""
    hours: float
    """Wall-clock hours of all stages together, those of audit and ablation included."""
    artifacts: tuple[Made, ...]
    """Everything that was made on the way or to test it, sources first."""


def schema(document: type[Settings] = Record) -> str:
    """The JSON schema of a document, as docs/ has it."""
    return json.dumps(document.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def made_of(row: Row) -> Made:
    """A workspace's record of an artifact, without its counts (they may quote anchors) and the machine's name."""
    return Made(
        **{name: row[name] for name in ("kind", "fingerprint", "version", "seconds")},
        inputs=_unspoken(row["inputs"]),
        at=row["made"]["at"],
        by=row["made"]["by"],
        device=row.get("device"),
        hardware=row.get("hardware") or {},
        software=row.get("software") or {},
    )


def _unspoken(value: Any, name: str = "") -> Any:
    """An input as it is, or the SHA-256 of a setting in which a user may have named the text."""
    if isinstance(value, dict):
        return {key: _unspoken(part, key) for key, part in value.items()}
    if name in SPOKEN and isinstance(value, str) and value:
        return hashlib.sha256(value.encode()).hexdigest()
    return value


def seeds_in(rows: list[Row]) -> dict[str, int]:
    """Every setting called `seed`, as `blocks.settings.seed`."""
    return dict(sorted(seed for row in rows for seed in _seeds(row["inputs"], row["kind"])))


def _seeds(inputs: Any, path: str) -> Iterator[tuple[str, int]]:
    for name, value in inputs.items() if isinstance(inputs, dict) else ():
        if name == "seed" and isinstance(value, int):
            yield f"{path}.seed", value
        yield from _seeds(value, f"{path}.{name}")


if __name__ == "__main__":
    print(schema(), end="")
