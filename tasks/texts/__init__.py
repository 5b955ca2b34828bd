"""Users' text files: found, and read record by record. A small module a kind.

Normalising is Unicode NFC, Unix line ends and no byte-order mark, nothing else: the model read the text as it is. A
compressed file is what it holds; a record without text (null) is an empty one, which `documents` counts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Seed, Settings
from tasks.hub import DATASET, dataset_files
from tasks.texts import archives, html, pdf, plain, tables
from tasks.texts.conversations import Span, write
from tasks.texts.plain import COMPRESSED, kind_of
from tasks.texts.records import Record, library, normalise

TEXTS: dict[str, Callable[[Path], Iterator[Record]]] = {
    **dict.fromkeys((".txt", ".md", ".text"), plain.plain_records),
    **dict.fromkeys((".html", ".htm", ".xhtml"), html.html_records),
    ".epub": archives.epub_records,
    ".pdf": pdf.pdf_records,
    ".docx": archives.docx_records,
}
"""Kinds of files that hold texts, and who reads them."""
TABLES: dict[str, Callable[[Path, str], Iterator[tables.Placed]]] = {
    ".jsonl": tables.jsonl_rows,
    ".ndjson": tables.jsonl_rows,
    ".json": tables.json_rows,
    **dict.fromkeys((".csv", ".tsv"), tables.csv_rows),
    ".parquet": tables.parquet_rows,
}
"""Kinds of files that hold records with a column of texts, or of conversations."""
WHOLE = (".parquet", ".epub", ".pdf", ".docx")
"""Kinds that are packed already."""
NAMED = (".json",)
"""Kinds that are read where the job names the file: in a folder such files are mostly something else."""
LIBRARIES = {".epub": "bs4", ".docx": "mammoth", ".pdf": "pypdf", **dict.fromkeys((".html", ".htm", ".xhtml"), "bs4")}
"""What the extra `documents` has for a kind."""
READ = ", ".join([*TEXTS, *TABLES])
ENDINGS = [
    f"{kind}{packed}" for kind in (*TEXTS, *TABLES) for packed in ("", *COMPRESSED) if kind not in WHOLE or not packed
]
PASSING = ("._", ".~lock", "~$")
"""How files begin that an office program or a system leaves beside the documents."""


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
    seed: Seed = 0
    """Draws the answers."""


class Texts(Settings):
    """User files with the column that holds their text."""

    files: Files
    column: str

    def read(self) -> list[str]:
        """The normalised texts, without empty ones."""
        return [normalise(text) for text in read_texts(self.files, self.column) if text.strip()]


@dataclass(frozen=True)
class CorpusFiles(Files):
    """The files of the target corpus, with what makes texts of the conversations among them."""

    tokenizer: Files | None = None
    """Of the model whose chat template writes them; None: a turn a line."""
    answers_only: bool = False
    """Train on the tokens of their answers alone."""

    @classmethod
    def of(cls, files: Files, tokenizer: Files | None = None, answers_only: bool = False) -> "CorpusFiles":
        """These files; what makes texts of their conversations is a part of what they are known by."""
        known = (files.fingerprint, f"template {tokenizer.fingerprint}" if tokenizer else "", "answers" * answers_only)
        fingerprint = "+".join(filter(None, known))
        return cls(files.paths, fingerprint, files.artifact, files.source, files.digest, tokenizer, answers_only)


class Text(NamedTuple):
    """A text of the files: as it stands there, or a conversation as the model reads it."""

    source: str
    """Name of the file, with the record's place where it holds several."""
    text: str
    dropped: str | None = None
    """Why it is none of the corpus, where its kind of file says so."""
    answers: list[Span] | None = None
    """Where the answers stand in a conversation; None for any other text."""


def find_files(paths: tuple[str, ...], hashes: Hashes, setting: str = "corpus.paths") -> Files:
    """The text files in a fixed order. Raises BadInput for a path that is missing or holds no text."""
    files_there: list[Path] = []
    sources: list[str] = []
    for path in paths:
        if is_dataset_name(path):
            files, source = dataset_files(path, setting, ENDINGS)
            sources.append(source)
            files_there += files
        else:
            files_there += _files_at(Path(path), setting)
    if not files_there:
        raise BadInput(f"{setting}: expected at least one path, found none")
    for file in files_there:
        if kind_of(file) in LIBRARIES:
            library(LIBRARIES[kind_of(file)], file)
    return replace(hashes.files(files_there), source=", ".join(sources))


def _files_at(path: Path, setting: str) -> list[Path]:
    """The file, or those of a folder and its subfolders in the order of their names."""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if is_read(file, named=False) and not file.is_dir())
        if not inside:
            raise BadInput(f"{setting}: expected files {READ} in {path}, found none")
        return inside
    if path.is_file() and is_read(path):
        return [path]
    if path.is_symlink() or path.exists():
        what = "a link to nothing, or to itself" if not path.exists() else "another kind"
        raise BadInput(f"{setting}: expected a file with one of {READ}, found {what} at {path}: name another")
    raise BadInput(f"{setting}: expected a file or folder at {path}, or the name of a data set, found nothing")


def is_read(path: Path, named: bool = True) -> bool:
    """Whether a file of this name holds texts; `named`: the user says so, and it was not found in a folder."""
    if not named and (kind_of(path) in NAMED or path.name.startswith(PASSING)):
        return False
    return path.name.lower().endswith(tuple(ENDINGS))


def is_dataset_name(name: str) -> bool:
    """Whether this can be the name of a data set on the hub. A file or folder of that name goes before it."""
    named = DATASET.fullmatch(name)
    return named is not None and not Path(name).exists() and not is_read(Path(named["repository"]))


def read_texts(files: Files | None, text_column: str, tokenizer: Any = None) -> Iterator[str]:
    """The text, as it stands there, of every record that is not dropped. Raises BadInput with file and place."""
    return (text.text for text in read_documents(files, text_column, tokenizer) if text.dropped is None)


def read_documents(files: Files | None, text_column: str, tokenizer: Any = None) -> Iterator[Text]:
    """Every record as a text, the dropped ones too. Conversations go through the tokenizer's chat template."""
    template = tokenizer if getattr(tokenizer, "chat_template", None) else None
    for path in map(Path, files.paths if files else ()):
        for record in _records(path, text_column):
            source = f"{path.name}:{record.place}" if record.place else path.name
            if record.turns:
                text, answers = write(record.turns, template, f"{path}, record {record.place}")
                yield Text(source, text, record.dropped, answers)
            else:
                yield Text(source, record.text, record.dropped)


def _records(path: Path, text_column: str) -> Iterator[Record]:
    kind = kind_of(path)
    if kind in LIBRARIES:
        stat = path.stat()
        return iter(_document(path, stat.st_size, stat.st_mtime_ns))
    if kind in TEXTS:
        return TEXTS[kind](path)
    rows = TABLES[kind](path, text_column)
    return (tables.record_of(row, text_column, number, where) for number, where, row in rows)


@lru_cache(maxsize=64)  # a PDF takes seconds, and is read to be looked at before it is read to be used
def _document(path: Path, _size: int, _changed: int) -> tuple[Record, ...]:
    return tuple(TEXTS[kind_of(path)](path))
