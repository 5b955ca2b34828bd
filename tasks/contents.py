"""What every kind of artifact holds: file names, and who reads and writes them. The one page that stages share.

A stage knows its siblings by what they leave behind and by nothing else; so none of them imports another.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from dictionaries.dictionary import Dictionary
from storage.errors import DamagedArtifact
from storage.files import listed
from storage.shards import read_shard, shard_writer, write_shard

Row = dict[str, Any]

TEXTS = "texts.arrow"
ELICITED = "elicited-*.jsonl"  # by round and number: elicited-00-0003.jsonl
ANSWERS = "anchor_answers-*.arrow"
DICTIONARY, LINT, DECISIONS = "dictionary.json", "lint.json", "anchor_decisions.parquet"
LEFT_OUT = "left out: "
"""Begins the reason of a decision about an expression that an extractor saw and did not use."""
BLOCKS = "blocks.arrow"
TRAINING = "training.arrow"
RETAINED = "retained.arrow"
NO_LABEL = -100
"""The label of a position that does not train, in training.arrow and retained.arrow."""
EXAMPLES = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
"""What a training reads: per block the input ids and the label of each position, unshifted."""
SOFT_EXAMPLES = EXAMPLES.append(pa.field("candidates", pa.list_(pa.int32()))).append(
    pa.field("shares", pa.list_(pa.float32()))
)
"""The same with distributions for labels: K candidates a position and their shares, K times as long."""
MODEL = "model"
STEPS, LAST = "steps", "steps/last"
UPDATES = "updates.json"
"""By kept step, as tasks.measure.update has it."""
VALUES, ITEMS = "evaluations.parquet", "evaluation_items.parquet"
CHOICE = "choice.json"
AUDIT_PAGE, AUDIT_EVIDENCE, AUDIT_ITEMS = "audit.html", "audit.json", "items.json"
ABLATION_PAGE, ABLATION_EVIDENCE = "ablation.html", "ablation.json"
SUITE, SUITE_PART = "suite.json", "suite-*.json"
REPORT_PAGE, REPORT_EVIDENCE = "report.html", "evidence.json"


Spans = list[tuple[int, int]]
"""Parts of a text: first character, and the one after the last."""


def write_documents(folder: Path, texts: list[str], answers: list[Spans | None] | None = None) -> None:
    """texts.arrow of a corpus: (document_id, text), and `answers` where only these parts of the texts shall train."""
    columns = {"document_id": pa.array(range(len(texts)), pa.int32()), "text": pa.array(texts, pa.large_string())}
    if answers is not None:
        columns["answers"] = pa.array(answers, pa.list_(pa.list_(pa.int64())))
    write_shard(folder / TEXTS, pa.table(columns))


def documents_of(folder: Path) -> list[str]:
    """The texts of a corpus; the place in the list is the document's id."""
    texts: list[str] = read_shard(folder / TEXTS).column("text").to_pylist()
    return texts


def answers_of(folder: Path) -> list[Spans | None]:
    """For every text of a corpus the parts that train; None where all of it does."""
    texts = read_shard(folder / TEXTS)
    return texts.column("answers").to_pylist() if "answers" in texts.column_names else [None] * len(texts)


def elicited_rows(folder: Path) -> list[Row]:
    """Every answer of an elicit artifact, finished or partial, in the order of asking: {text column, name, form}."""
    lines = (line for path in listed(folder, ELICITED) for line in path.read_text(encoding="utf-8").split("\n"))
    return [json.loads(line) for line in lines if line]


def answer_rows(folder: Path) -> list[Row]:
    """Every row of an answers artifact, finished or partial, in the order in which they were asked."""
    return [row for shard in listed(folder, ANSWERS) for row in read_shard(shard).to_pylist()]


def write_examples(path: Path, blocks: Iterable[tuple[list[int], list[bool]]]) -> tuple[int, int]:
    """Blocks of token ids, each position labelled with the next token of the text. Returns how many blocks, tokens.

    With the ids stands for each of them whether it is a label.
    """
    count = tokens = 0
    with shard_writer(path, EXAMPLES) as write:
        for ids, trained in blocks:
            if any(trained[1:]):  # one token alone has nothing to predict
                labels = [token if kept else NO_LABEL for token, kept in zip(ids[1:], trained[1:], strict=True)]
                write({"input_ids": ids, "labels": [*labels, NO_LABEL]})
                count, tokens = count + 1, tokens + len(ids)
    return count, tokens


def write_dictionary(folder: Path, dictionary: Dictionary, findings: list[Row], decisions: Iterable[Row]) -> None:
    """A dictionary or a reviewed one: dictionary.json, lint.json, and the shards of anchors and decisions."""
    dictionary.write(folder / DICTIONARY)
    write_json(folder / LINT, findings)
    write_shard(folder / "anchors.parquet", [asdict(entry) for entry in dictionary.entries])
    write_shard(folder / DECISIONS, list(decisions))


def dictionary_of(folder: Path) -> Dictionary:
    """The dictionary of a dictionary or review artifact."""
    return Dictionary.read(folder / DICTIONARY, lenient=True)  # it was linted when it was made


def decision_rows(folder: Path) -> list[Row]:
    """What was decided about the entries of a dictionary or review artifact, as in the table `anchor_decisions`."""
    rows: list[Row] = read_shard(folder / DECISIONS).to_pylist()
    return rows


def lint_of(folder: Path) -> list[Row]:
    """What the lint found in the dictionary of an artifact: [{rule, severity, count, examples}]."""
    findings: list[Row] = read_json(folder / LINT)
    return findings


def blocks_of(folder: Path) -> pa.Table:
    """The `blocks` table of a corpus, memory-mapped; a block's row number is its id."""
    return read_shard(folder / BLOCKS)


def step_folder(step: int) -> str:
    return f"{STEPS}/{step:06d}"


def evaluation_rows(*folders: Path) -> list[Row]:
    """The values of evaluations, judgements or attacks, as in the table `evaluations`."""
    return [row for folder in folders for row in read_shard(folder / VALUES).to_pylist()]


def read_json(path: Path) -> Any:
    """A JSON file of an artifact. Raises DamagedArtifact where it is no JSON any more."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedArtifact.of(path.parent.name, str(path.parent.parent), [path.name]) from error


def write_json(path: Path, value: object) -> None:
    """Write a JSON file of an artifact. Raises ValueError for a number that is not finite."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
