"""Users' text files: found, and read record by record.

Normalising is Unicode NFC, Unix line ends and no byte-order mark, nothing else: the model read the text as it is. A
compressed file is what it holds; a record without text (null) is an empty one, which `documents` counts.
"""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings

KINDS = (".txt", ".md", ".text", ".jsonl", ".parquet")
COMPRESSED = (".gz", ".zst", ".bz2")
SUFFIXES = (*KINDS, *(f"{kind}{packed}" for kind in KINDS if kind != ".parquet" for packed in COMPRESSED))


class ElicitSettings(Settings):
    """A subject that the model itself is asked about, where its text is not at hand, or not all of it."""

    subject: str = ""
    """What to forget, in a few words ("Harry Potter"); empty: nothing is asked."""
    names: tuple[str, ...] = ()
    """Names of the subject to ask about in the first round; by default the subject alone."""
    rounds: int = Field(default=2, ge=1)
    """Rounds of asking. From the second on it is about names that the model's own answers brought up."""
    growth: int = Field(default=20, ge=0)
    """New names of each further round, at most."""
    times: int = Field(default=2, ge=1)
    """Answers to each of the four requests about a name."""
    tokens: int = Field(default=300, ge=8)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.8, gt=0)
    """Of sampling."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Share of the probability that is sampled from."""
    seed: int = 0
    """Draws the answers."""


class Texts(Settings):
    """User files with the column that holds their text."""

    files: Files
    column: str

    def read(self) -> list[str]:
        """The normalised texts, without empty ones."""
        return [normalise(text) for _, text in read_texts(self.files, self.column) if text.strip()]


def find_files(paths: tuple[str, ...], hashes: Hashes, setting: str = "corpus.paths") -> Files:
    """The text files in a fixed order. Raises BadInput for a path that is missing or holds no text."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES))
            if not inside:
                raise BadInput(f"{setting}: expected files {', '.join(SUFFIXES)} in {path}, found none")
            found += inside
        elif path.is_file() and path.name.endswith(SUFFIXES):
            found.append(path)
        elif path.exists():
            raise BadInput(f"{setting}: expected a file with one of {', '.join(SUFFIXES)}, found {path}")
        else:
            raise BadInput(f"{setting}: expected a file or folder at {path}, found nothing")
    if not found:
        raise BadInput(f"{setting}: expected at least one path, found none")
    return hashes.files(found)


def normalise(text: str) -> str:
    """NFC, Unix line ends, no byte-order mark."""
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def read_texts(files: Files, text_column: str) -> Iterator[tuple[str, str]]:
    """(source, raw text) of every record. Raises BadInput with file and place for what cannot be read."""
    for path in map(Path, files.paths):
        kind = Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
        if kind == ".parquet":
            texts = _parquet_texts(path, text_column)
        elif kind == ".jsonl":
            texts = _jsonl_texts(path, text_column)
        else:
            yield path.name, read_utf8(path)
            continue
        for number, text in texts:
            yield f"{path.name}:{number}", text


def read_utf8(path: Path) -> str:
    """The file's text, unpacked. Raises BadInput for half a compressed file, and with the byte offset for no UTF-8."""
    try:
        with pa.input_stream(str(path)) as stream:  # unpacks by the name's ending
            return bytes(stream.read()).decode("utf-8").removeprefix("\ufeff")
    except OSError as error:
        if error.errno:  # the system's: the file is closed to us, not broken
            raise
        raise BadInput(f"{path}: expected a whole compressed file, found {error}") from error
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
        there = isinstance(record, dict) and text_column in record
        if not there or not isinstance(record[text_column], str | None):
            raise BadInput(
                f'{path}, line {number}: expected a JSON object with a text in "{text_column}", found '
                f"{sorted(record) if isinstance(record, dict) else type(record).__name__}: set corpus.text_column"
            )
        yield number, record[text_column] or ""


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
