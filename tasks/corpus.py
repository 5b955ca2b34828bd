"""corpus: user files become documents.

Normalising is Unicode NFC, Unix line ends and no byte-order mark, nothing else: the model read the text as it is.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from storage.shards import read_shard, write_shard
from tasks.stage import Counts, Work, stage

SUFFIXES = (".txt", ".md", ".text", ".jsonl", ".parquet")
TEXTS = "texts.arrow"


class CorpusSettings(Settings):
    """The text to forget."""

    paths: tuple[str, ...]
    """Files or folders: text (.txt, .md), .jsonl or .parquet. A folder is read with its subfolders, in name order."""
    text_column: str = "text"
    """Column (jsonl: key) that holds the text."""


def find_files(paths: tuple[str, ...], hashes: Hashes, setting: str = "corpus.paths") -> Files:
    """The text files in a fixed order. Raises BadInput for a path that is missing or holds no text."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
            if not inside:
                raise BadInput(f"{setting}: expected files {', '.join(SUFFIXES)} in {path}, found none")
            found += inside
        elif path.is_file() and path.suffix in SUFFIXES:
            found.append(path)
        elif path.exists():
            raise BadInput(f"{setting}: expected a file with one of {', '.join(SUFFIXES)}, found {path}")
        else:
            raise BadInput(f"{setting}: expected a file or folder at {path}, found nothing")
    if not found:
        raise BadInput(f"{setting}: expected at least one path, found none")
    return hashes.files(found)


@stage("corpus", version=1, protected=True)
def corpus(work: Work, files: Files, text_column: str) -> Counts:
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
    texts = pa.table({"document_id": pa.array(range(len(kept)), pa.int32()), "text": pa.array(kept, pa.large_string())})
    write_shard(work.folder / TEXTS, texts)
    write_shard(work.folder / "documents.parquet", rows)
    dropped = [str(row["reason"]).split(" ")[0] for row in rows if row["reason"]]
    return {
        "documents": len(kept),
        "characters": sum(map(len, kept)),
        "empty": dropped.count("empty"),
        "duplicates": dropped.count("duplicate"),
    }


def documents_of(folder: Path) -> list[str]:
    """The texts of a corpus artifact; the place in the list is the document's id."""
    texts: list[str] = read_shard(folder / TEXTS).column("text").to_pylist()
    return texts


def normalise(text: str) -> str:
    """NFC, Unix line ends, no byte-order mark."""
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def read_texts(files: Files, text_column: str) -> Iterator[tuple[str, str]]:
    """(source, raw text) of every record. Raises BadInput with file and place for what cannot be read."""
    for path in map(Path, files.paths):
        if path.suffix == ".parquet":
            texts = _parquet_texts(path, text_column)
        elif path.suffix == ".jsonl":
            texts = _jsonl_texts(path, text_column)
        else:
            yield path.name, read_utf8(path)
            continue
        for number, text in texts:
            yield f"{path.name}:{number}", text


def read_utf8(path: Path) -> str:
    """The file's text. Raises BadInput with the byte offset where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: expected UTF-8, found byte 0x{error.object[error.start]:02x} at byte offset {error.start}: "
            "convert the file (iconv -t UTF-8)"
        ) from error


def _jsonl_texts(path: Path, text_column: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: expected a JSON object, found {error}") from error
        if not isinstance(record, dict) or not isinstance(record.get(text_column), str):
            raise BadInput(
                f'{path}, line {number}: expected a JSON object with a text in "{text_column}", found '
                f"{sorted(record) if isinstance(record, dict) else type(record).__name__}: set corpus.text_column"
            )
        yield number, record[text_column]


def _parquet_texts(path: Path, text_column: str) -> Iterator[tuple[int, str]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: expected a Parquet file, found {error}") from error
    if text_column not in file.schema_arrow.names:
        raise BadInput(
            f'{path}: expected a column "{text_column}", found {file.schema_arrow.names}: set corpus.text_column'
        )
    number = 0
    for batch in file.iter_batches(columns=[text_column]):
        for text in batch.column(0).to_pylist():
            number += 1
            yield number, text or ""
