"""dictionary: curated files, and what an extractor finds, become one linted dictionary.

Curated entries win over extracted ones for the same anchor: a person decided them.
"""

from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from storage.tables import write_shard
from tasks.stage import Counts, Work, stage

FILE = "dictionary.json"


class DictionarySettings(Settings):
    """Which words are peculiar to the target, and what replaces them."""

    curated: tuple[str, ...] = ()
    """Dictionary files, JSON or TOML: {anchor: translation or [translations]}. Earlier files win."""


def find_words(settings: DictionarySettings, hashes: Hashes) -> Files:
    """The curated files. Raises BadInput for one that is missing or no dictionary."""
    files = hashes.files(map(Path, settings.curated))
    read_curated(files)
    return files


@stage("dictionary", version=1)
def dictionary(work: Work, corpus: Artifact, curated: Files) -> Counts:
    """Write dictionary.json and the `anchors` shard. Raises BadInput where the lint finds an error."""
    words = read_curated(curated)
    words.write(work.folder / FILE)
    write_shard(work.folder / "anchors.parquet", [row(entry) for entry in words.entries])
    return {"anchors": len(words), "translations": sum(len(entry.translations) for entry in words.entries)}


def read_curated(files: Files) -> Dictionary:
    """All curated files as one dictionary."""
    first, *others = [Dictionary.read(path) for path in files.paths]
    return first.merged(*others)


def dictionary_of(folder: Path) -> Dictionary:
    """The dictionary of an artifact."""
    return Dictionary.read(folder / FILE)


def row(entry: Any) -> dict[str, Any]:
    """An entry as a row of the `anchors` table."""
    names = ("anchor", "kind", "translations", "votes", "provenance")
    return {name: getattr(entry, name) for name in names}


__all__ = ["BadInput", "DictionarySettings", "dictionary", "dictionary_of", "read_curated"]
