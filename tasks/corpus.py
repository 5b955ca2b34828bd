"""corpus: user files become documents."""

import hashlib
from typing import Any

from storage.errors import BadInput
from storage.files import Files
from storage.settings import Settings
from storage.shards import write_shard
from tasks.contents import write_documents
from tasks.engine.stage import Context, Counts, stage
from tasks.texts import ElicitSettings, normalise, read_texts


class CorpusSettings(Settings):
    """The text to forget."""

    paths: tuple[str, ...] = ()
    """Files or folders: text (.txt, .md), .jsonl or .parquet. A folder is read with its subfolders, in name order."""
    text_column: str = "text"
    """Column (jsonl: key) that holds the text."""
    elicit: ElicitSettings = ElicitSettings()
    """A subject whose texts the model itself is asked for, beside the files or in their place."""


@stage("corpus", version=1, protected=True)
def corpus(context: Context, files: Files, text_column: str) -> Counts:
    """Write texts.arrow (document_id, text) and the `documents` shard (every text, also the dropped ones)."""
    kept: list[str] = []
    rows: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    for source, raw in read_texts(files, text_column):
        text = normalise(raw)
        digest = hashlib.sha256(text.encode()).hexdigest()
        reason = "empty" if not text.strip() else f"duplicate of {first[digest]}" if digest in first else None
        row = {
            "source": source,
            "sha256": digest,
            "characters": len(text),
            "reason": reason,
            "document_id": None,
        }
        if reason is None:
            row["document_id"] = first[digest] = len(kept)
            kept.append(text)
        rows.append(row)
    if not kept:
        raise BadInput(f"expected text in {', '.join(files.paths)}, found only empty documents")
    write_documents(context.folder, kept)
    write_shard(context.folder / "documents.parquet", rows)
    dropped = [str(row["reason"]).split(" ")[0] for row in rows if row["reason"]]
    return {
        "documents": len(kept),
        "characters": sum(map(len, kept)),
        "empty": dropped.count("empty"),
        "duplicates": dropped.count("duplicate"),
    }
