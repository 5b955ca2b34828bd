"""corpus: user files become documents."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from storage.errors import BadInput
from storage.settings import Settings
from storage.shards import write_shard
from tasks.contents import Row, write_documents
from tasks.engine.stage import Context, Counts, stage
from tasks.models import load_tokenizer
from tasks.texts import CorpusFiles, ElicitSettings, Text, read_documents
from tasks.texts.quality import Sample, garbled_share, language_of
from tasks.texts.records import normalise


class CorpusSettings(Settings):
    """The text to forget."""

    paths: tuple[str, ...] = ()
    """Files, folders (with their subfolders, in name order), or data sets on the hub: owner/name[@revision][:pattern].
    docs/CORPORA.md has every kind of file and how it is read."""
    text_column: str = "text"
    """Column (jsonl: key) that holds the text. Records without one called `text` may be conversations."""
    train_on: Literal["everything", "answers"] = "everything"
    """answers: of questions with answers, and of chats, only the answers' tokens train. Other texts train whole."""
    elicit: ElicitSettings = ElicitSettings()
    """A subject whose texts the model itself is asked for, beside the files or in their place."""

    @model_validator(mode="after")
    def _about_something(self) -> "CorpusSettings":
        if not self.elicit.subject.strip() and (self.elicit.subject or self.elicit.names):
            raise ValueError("expected a subject in words with elicit, found a blank, or names alone")
        return self


@stage("corpus", version=1, protected=True)
def corpus(context: Context, files: CorpusFiles, text_column: str) -> Counts:
    """Write texts.arrow (document_id, text) and the `documents` shard (every text, also the dropped ones)."""
    tokenizer = load_tokenizer(files.tokenizer) if files.tokenizer else None
    kept: list[Text] = []
    rows: list[Row] = []
    first: dict[str, int] = {}
    for text in read_documents(files, text_column, tokenizer):
        text = text._replace(text=normalise(text.text))
        row = _row(text, first)
        if row["reason"] is None:
            row["document_id"] = first[row["sha256"]] = len(kept)
            kept.append(text)
        rows.append(row)
    if not kept:
        raise BadInput(f"expected text in {', '.join(files.paths)}, found only empty documents")
    answers = [text.answers for text in kept] if files.answers_only else None
    write_documents(context.folder, [text.text for text in kept], answers)
    write_shard(context.folder / "documents.parquet", rows)
    return counts_of(rows, kept)


def _row(text: Text, first: dict[str, int]) -> Row:
    """The text as a row of the table `documents`; `first` has the documents so far by their hashes."""
    digest = hashlib.sha256(text.text.encode()).hexdigest()
    duplicate = f"duplicate of {first[digest]}" if digest in first else None
    return {
        "source": text.source,
        "sha256": digest,
        "characters": len(text.text),
        "reason": text.dropped or (duplicate if text.text.strip() else "empty"),
        "document_id": None,
    }


def counts_of(rows: list[Row], kept: list[Text]) -> Counts:
    """What was taken and dropped, in all and by file ending, and what a sample of the text looks like."""
    reasons = Counter(str(row["reason"]).split(" of ")[0] for row in rows if row["reason"])
    taken, dropped = Counter[str](), Counter[str]()
    for row in rows:
        (dropped if row["reason"] else taken)[Path(row["source"].rpartition(":")[0] or row["source"]).suffix] += 1
    sample = Sample()
    for text in kept:
        sample.add(text.text)
    return {
        "documents": len(kept),
        "characters": sum(len(text.text) for text in kept),
        "empty": reasons.pop("empty", 0),
        "duplicates": reasons.pop("duplicate", 0),
        "otherwise_dropped": dict(sorted(reasons.items())),
        "by_ending": {kind: {"taken": taken[kind], "dropped": dropped[kind]} for kind in sorted({*taken, *dropped})},
        "language": language_of(sample.text),
        "garbled_share": round(garbled_share(sample.text), 4),
    }
