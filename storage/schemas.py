"""Every table, on one page: the contract that people write SQL against.

The column `artifact` (the fingerprint of the artifact that made the row) stands first in every table and is added on
loading; shard files hold the other columns. Positions and rows count from 0 within their block.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

IDS = pa.list_(pa.int32())
FLOATS = pa.list_(pa.float32())
TEXT = pa.string()


@dataclass(frozen=True)
class Table:
    """A table: what it holds, and per column its type (Arrow's, or SQL's where no shard has it) and meaning."""

    comment: str
    columns: dict[str, tuple[Any, str]]
    in_place: bool = False
    """A view over the shards, which must be Parquet: the rows are too many to be copied."""

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of a shard."""
        return pa.schema([(name, kind) for name, (kind, _) in self.columns.items()])


MADE_BY = "fingerprint of the artifact that made the row"
"""What the column `artifact` means."""
BLOCK = {"block_id": (pa.int32(), "block, numbered through the corpus")}
POSITION = BLOCK | {"position": (pa.int32(), "token of the block whose logits predict the next token")}
MODEL = {
    "model": (TEXT, "role of the model: baseline, student, gold, ..."),
    "step": (pa.int32(), "unlearning step of the student; NULL for other models"),
    "metric": (
        TEXT,
        "familiarity_probability, _completion or _judged, perplexity or accuracy; an audit's: tasks/audit",
    ),
    "task": (TEXT, "benchmark, data set or variant that the metric was measured on"),
}

TABLES = {
    "documents": Table(
        "Texts of the target corpus, kept and dropped ones; the text itself stays in the corpus artifact",
        {
            "document_id": (pa.int32(), "number in the corpus; NULL for a dropped document"),
            "source": (TEXT, "file name, with the record's number where a file holds several"),
            "sha256": (TEXT, "hash of the normalised text"),
            "characters": (pa.int64(), "length"),
            "reason": (TEXT, "NULL where kept, else why it was dropped"),
        },
    ),
    "anchors": Table(
        "The dictionary: expressions peculiar to the target and what replaces them",
        {
            "anchor": (TEXT, "expression as it stands in the text"),
            "kind": (TEXT, "person, place, thing, phrase or term; NULL where unknown"),
            "translations": (pa.list_(TEXT), "generic counterparts, the preferred one first"),
            "votes": (IDS, "passages behind each translation; empty where nobody voted"),
            "provenance": (TEXT, "where the entry comes from"),
        },
    ),
    "anchor_votes": Table(
        "Which passage proposed which translation",
        {
            "anchor": (TEXT, "expression"),
            "translation": (TEXT, "proposed counterpart"),
            "votes": (pa.int32(), "passages that proposed it"),
            "passages": (pa.list_(TEXT), "ids of these passages"),
        },
    ),
    "anchor_answers": Table(
        "What a language model answered about passages of the corpus, unusable answers included; they quote the corpus",
        {
            "passage": (TEXT, "id of the passage: document and first character"),
            "document_id": (pa.int32(), "document that it stands in"),
            "first_character": (pa.int64(), "where it begins there"),
            "characters": (pa.int64(), "its length"),
            "question": (TEXT, "hash of passage, prompt, model and settings; an answer is found again by it"),
            "model": (TEXT, "name of the language model"),
            "answer": (TEXT, "what it answered, as it came"),
            "reason": (TEXT, "NULL where the answer can be read, else why there is none"),
            "detail": (TEXT, "the refusal or the last fault, in words"),
            "requests": (pa.int32(), "requests made for it, retries included; 0 for an answer from another artifact"),
            "tokens": (pa.int64(), "tokens that they cost, prompts and answers"),
            "asked_at": (TEXT, "when the answer came, UTC"),
        },
    ),
    "anchor_decisions": Table(
        "What was changed on the way to the dictionary, by a rule or by a person",
        {
            "anchor": (TEXT, "expression"),
            "translation": (TEXT, "what it was translated to"),
            "replacement": (TEXT, "what it became; empty where it was dropped"),
            "reason": (TEXT, "the rule, or the person's word"),
            "decided_by": (TEXT, "the person; NULL for a rule"),
            "decided_at": (TEXT, "when the person decided, UTC; NULL for a rule"),
        },
    ),
    "blocks": Table(
        "Blocks of the target corpus and their translation (the paper's section 3)",
        BLOCK
        | {
            "document_id": (pa.int32(), "document that the block was cut from"),
            "original_ids": (IDS, "T token ids, exactly what the models read"),
            "translated_ids": (IDS, "U token ids with every anchor replaced"),
            "mapping": (IDS, "T entries: position of translated_ids that has seen the same text, -1 for none"),
            "reasons": (pa.list_(TEXT), "T entries: NULL where the position trains, else why it does not"),
            "forbidden_ids": (IDS, "first meaningful tokens of the translations used"),
            "forbidden_from": (IDS, "for each of them, the first row of translated_ids in which it is forbidden"),
            "anchors": (pa.list_(TEXT), "anchors in order of appearance"),
            "anchor_positions": (IDS, "position in original_ids of the first token of each"),
            "translations": (pa.list_(TEXT), "translation of each, one an anchor a block"),
        },
    ),
    "logits": Table(
        "Per position: the baseline's top candidates on the translated text, with both models' logits",
        POSITION
        | {
            "reason": (TEXT, "NULL where the position trains, else why it does not (then the rest is NULL)"),
            "row_mean": (pa.float32(), "mean of the baseline's row, given to forbidden tokens"),
            "baseline_lse": (pa.float32(), "log-sum-exp of the baseline's row: probability = exp(logit - lse)"),
            "reinforced_lse": (pa.float32(), "log-sum-exp of the reinforced model's row"),
            "ids": (IDS, "K token ids, the baseline's highest logits first, after forbidding"),
            "baseline": (FLOATS, "K logits of the baseline on the translated text"),
            "reinforced": (FLOATS, "K logits of the reinforced model on the original text"),
        },
        in_place=True,
    ),
    "label_curves": Table(
        "The exact generic label as a function of alpha: `token` for alpha_from <= alpha < alpha_to",
        POSITION
        | {
            "vertex": (pa.int16(), "number of the piece, from alpha = 0 upwards"),
            "token": (pa.int32(), "generic label on this piece"),
            "alpha_from": (pa.float32(), "first alpha at which it wins"),
            "alpha_to": (pa.float32(), "first alpha at which it no longer wins; infinite on the last piece"),
        },
    ),
    "training_steps": Table(
        "Metrics of every optimizer step of the reinforced model and of the student",
        {
            "step": (pa.int32(), "optimizer step, from 1"),
            "loss": (pa.float32(), "mean cross-entropy over the step's labels, nats"),
            "learning_rate": (pa.float64(), "learning rate of the step"),
            "grad_norm": (pa.float32(), "norm of the gradient before clipping"),
            "seconds": (pa.float64(), "wall time since the run or its resumption began"),
        },
    ),
    "metrics": Table(
        "What each shard or training cost, where and how fast it was made",
        {
            "stage": (TEXT, "stage that made it"),
            "shard": (TEXT, "shard or part of the artifact that the row is about"),
            "tokens": (pa.int64(), "tokens that went through a model"),
            "seconds": (pa.float64(), "wall time"),
            "tokens_per_second": (pa.float64(), "tokens / seconds; NULL where no time was taken"),
            "gpu_memory_bytes": (pa.int64(), "peak of the GPU memory that torch allocated; NULL on a CPU"),
            "host": (TEXT, "machine"),
            "device": (TEXT, "cpu, or the GPU's name"),
            "batch": (pa.int32(), "blocks per forward pass and device"),
        },
    ),
    "evaluations": Table(
        "What a model still shows of the target, and what it is still able to do",
        MODEL
        | {
            "value": (pa.float64(), "the measure"),
            "stderr": (pa.float64(), "its standard error over the items"),
            "items": (pa.int32(), "number of items"),
        },
    ),
    "evaluation_items": Table(
        "The items behind every evaluation",
        MODEL
        | {
            "item": (pa.int32(), "number of the item"),
            "prompt": (TEXT, "what the model was given"),
            "expected": (TEXT, "what was looked for"),
            "completion": (TEXT, "what the model said"),
            "score": (pa.float64(), "the item's share in the measure"),
            "details": (TEXT, "JSON: what else is known of the item"),
        },
    ),
}

# Made by SQL, not from shards: what exists, what happened, and which shards are in.
SQL_TABLES = {
    "artifacts": Table(
        "Everything finished: what it was made from and what came out",
        {
            "kind": ("VARCHAR", "stage that made it"),
            "name": ("VARCHAR", "name of the job that made it first"),
            "fingerprint": ("VARCHAR PRIMARY KEY", "hash of its inputs; `artifact` in the other tables"),
            "path": ("VARCHAR", "folder"),
            "created_at": ("TIMESTAMPTZ", "when it was finished"),
            "created_by": ("VARCHAR", "user"),
            "seconds": ("DOUBLE", "wall time of the making, since it was last resumed"),
            "inputs": ("JSON", "what it was made from: fingerprints and settings by name"),
            "counts": ("JSON", "what came out, in numbers"),
        },
    ),
    "events": Table(
        "What happened, run by run",
        {
            "happened_at": ("TIMESTAMPTZ", "when"),
            "run": ("VARCHAR", "name of the flow run"),
            "stage": ("VARCHAR", "stage"),
            "artifact": ("VARCHAR", "fingerprint of the artifact"),
            "event": ("VARCHAR", "what happened: made"),
            "message": ("VARCHAR", "details"),
        },
    ),
    "loads": Table(
        "Shards that are in the tables, each loaded in one transaction",
        {
            "artifact": ("VARCHAR", "fingerprint of the shard's artifact"),
            "shard": ("VARCHAR", "file name"),
            "loaded_at": ("TIMESTAMPTZ", "when"),
        },
    ),
}

# `labels(alpha)` for every logits artifact; the view `labels` holds those that a job chose, by labels artifact.
LABELS_AT = """
CREATE OR REPLACE MACRO labels(alpha) AS TABLE
    SELECT artifact, block_id, position, token AS label, NULL::VARCHAR AS reason
    FROM label_curves
    WHERE CASE WHEN alpha >= 0 THEN alpha_from <= alpha::FLOAT AND alpha::FLOAT < alpha_to
               ELSE error('labels(alpha): expected alpha >= 0') END
    UNION ALL
    SELECT artifact, block_id, position, NULL::INTEGER AS label, reason FROM logits WHERE reason IS NOT NULL
"""
LABELS = """
CREATE OR REPLACE VIEW labels AS
    WITH chosen AS (
        SELECT fingerprint AS artifact, inputs->>'$.logits' AS logits, (inputs->>'$.settings.alpha')::FLOAT AS alpha
        FROM artifacts WHERE kind = 'labels')
    SELECT c.artifact, v.block_id, v.position, v.token AS label, NULL::VARCHAR AS reason
    FROM chosen c JOIN label_curves v ON v.artifact = c.logits AND v.alpha_from <= c.alpha AND c.alpha < v.alpha_to
    UNION ALL
    SELECT c.artifact, l.block_id, l.position, NULL::INTEGER AS label, l.reason
    FROM chosen c JOIN logits l ON l.artifact = c.logits WHERE l.reason IS NOT NULL
"""

VIEWS = (LABELS_AT, LABELS)
"""What is created besides the tables, in this order."""
