"""A record: one text, or one conversation, of a user's file, and where in the file it stands."""

import importlib
import unicodedata
from typing import Any, NamedTuple

from storage.errors import BadInput


class Turn(NamedTuple):
    """What one side of a conversation says."""

    role: str
    """user, assistant, system, or whatever else the model's template knows."""
    content: str


class Record(NamedTuple):
    """A text or a conversation of a file."""

    place: str
    """Its number in the file; empty where the file is one text."""
    text: str = ""
    turns: tuple[Turn, ...] = ()
    """A conversation, in place of a text."""
    dropped: str | None = None
    """Why the text is none of the corpus, where its kind of file says so: "navigation", "running heads", ..."""


def library(name: str, path: object) -> Any:
    """A module of the extra `documents`. Raises BadInput, for the file that needs it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{path}: expected the libraries that read such documents, found no {error.name}: "
            "pip install 'nepenthe[documents]'"
        ) from error


def normalise(text: str) -> str:
    """Text in the one form that is hashed, matched and tokenised: NFC, Unix line ends, no byte-order mark."""
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
