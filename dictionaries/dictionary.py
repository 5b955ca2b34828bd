"""The dictionary: which expressions are peculiar to the target corpus (anchors), and what stands in for them.

Two anchors that differ only in white space or in the shape of an apostrophe
are the same anchor, because the matcher cannot tell them apart. And a translation is never translated again.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from storage.errors import BadInput

KINDS = ("person", "place", "thing", "phrase", "term")  # a spell is a term

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})


def canonical(expression: str) -> str:
    """What the matcher sees of an expression: single spaces, straight apostrophes."""
    return " ".join(expression.split()).translate(_APOSTROPHES)


@dataclass(frozen=True, slots=True)
class Entry:
    """One anchor. `translations[0]` is the preferred one; `votes` is parallel to it, or empty."""

    anchor: str
    translations: tuple[str, ...]
    kind: str | None = None
    votes: tuple[int, ...] = ()
    provenance: str = ""

    def translated(self, translations: Iterable[str]) -> "Entry":
        """The same with other translations; what it had keeps its votes."""
        texts, votes = tuple(translations), dict(zip(self.translations, self.votes, strict=False))
        return replace(self, translations=texts, votes=tuple(votes.get(text, 0) for text in texts if self.votes))


@dataclass(frozen=True)
class Dictionary:
    """Entries sorted by anchor, no anchor twice. `source` says where a curated one is from (title, date)."""

    entries: tuple[Entry, ...]
    source: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(sorted(self.entries, key=lambda entry: entry.anchor)))
        seen: dict[str, str] = {}
        for entry in self.entries:
            _check_shape(entry)
            spelled = canonical(entry.anchor)
            if spelled in seen:
                raise BadInput(f"anchor {entry.anchor!r} stands twice (also as {seen[spelled]!r}): keep one of the two")
            seen[spelled] = entry.anchor

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, str | Sequence[str]],
        provenance: str = "",
        source: Mapping[str, str] | None = None,
    ) -> "Dictionary":
        """From {anchor: translation or [translations]}. BadInput names the entry that has another form."""
        entries = tuple(_entry_from_pair(anchor, value, provenance) for anchor, value in mapping.items())
        return cls(entries, source or {})

    @classmethod
    def read(cls, path: str | Path, lenient: bool = False) -> "Dictionary":
        """A curated file: JSON or TOML {anchor: translation or [translations]}, or our own "entries" JSON.

        Refuses an anchor translated to itself, to another anchor or to nothing. `lenient` lets those pass, for
        whoever shows or repairs them (lint, review). All else that is wrong is BadInput either way.
        """
        path = Path(path)
        try:
            dictionary = _from_document(_load(path))
            if not lenient:
                dictionary.refuse_hollow_translations()
        except BadInput as error:
            raise BadInput(f"dictionary {path}: {error}") from None
        return dictionary

    def write(self, path: str | Path) -> None:
        """Our own JSON form; the same dictionary always gives the same bytes."""
        Path(path).write_bytes(self.to_json().encode())

    def to_json(self) -> str:
        document = {"source": dict(sorted(self.source.items())), "entries": [asdict(entry) for entry in self.entries]}
        return json.dumps(document, ensure_ascii=False, indent=1) + "\n"

    def merged(self, *others: "Dictionary") -> "Dictionary":
        """Together with others: an anchor that several have keeps the entry of the earliest, whole.

        So a curated dictionary put first overrules an extracted one. (Votes are merged in merging.py.)
        """
        earliest_last = (*reversed(others), self)
        entries = {canonical(entry.anchor): entry for dictionary in earliest_last for entry in dictionary.entries}
        return Dictionary(tuple(entries.values()), self.source)

    def refuse_hollow_translations(self) -> None:
        """BadInput for the first anchor that is translated to nothing, to itself or to another anchor."""
        anchors = {canonical(entry.anchor) for entry in self.entries}
        for entry in self.entries:
            if not entry.translations:
                raise BadInput(f"anchor {entry.anchor!r} has no translation: give it one, or remove it")
            for translation in entry.translations:
                if not translation:
                    raise BadInput(f"anchor {entry.anchor!r} is translated to nothing: give it a generic counterpart")
                if canonical(translation) == canonical(entry.anchor):
                    raise BadInput(f"anchor {entry.anchor!r} is translated to itself: give it another translation")
                if canonical(translation) in anchors:
                    raise BadInput(
                        f"anchor {entry.anchor!r} is translated to {translation!r}, which is an anchor itself"
                        ": give it another translation"
                    )


def _check_shape(entry: Entry) -> None:
    if not entry.anchor or entry.anchor != " ".join(entry.anchor.split()):
        raise BadInput(f"expected an anchor of words with single spaces, found {entry.anchor!r}: rewrite it")
    if entry.kind is not None and entry.kind not in KINDS:
        raise BadInput(f"anchor {entry.anchor!r}: expected a kind of {', '.join(KINDS)}, found {entry.kind!r}")
    if entry.votes and len(entry.votes) != len(entry.translations):
        raise BadInput(
            f"anchor {entry.anchor!r}: expected one vote count for each of its {len(entry.translations)} "
            f"translations, found {len(entry.votes)}"
        )


def _entry_from_pair(anchor: object, value: object, provenance: str) -> Entry:
    if not isinstance(anchor, str) or not anchor.strip():
        raise BadInput(f"expected an anchor with at least one character, found {anchor!r}: name it, or remove it")
    return Entry(" ".join(anchor.split()), _translations(anchor, value), provenance=provenance)


def _translations(anchor: str, value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
        raise BadInput(f"anchor {anchor!r}: expected a translation or a list of translations, found {_shown(value)}")
    return tuple(dict.fromkeys(" ".join(item.split()) for item in listed))  # the same one twice is one


def _load(path: Path) -> dict[str, Any]:
    """The file as a JSON object or TOML table."""
    if path.suffix.lower() not in (".json", ".toml"):
        raise BadInput("expected a file that ends in .json or .toml: rename or convert it")
    try:
        text = read_utf8(path)
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        document = json.loads(text, object_pairs_hook=_unique_keys)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"expected TOML: {error}") from None
    except json.JSONDecodeError as error:
        raise BadInput(f"expected JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise BadInput("expected {anchor: translation}, found lists nested without end") from None
    if not isinstance(document, dict):
        raise BadInput(f"expected an object {{anchor: translation}}, found {_shown(document)}")
    return document


def read_utf8(path: Path) -> str:
    """The text of a file, without the mark that spreadsheets put in front. Raises BadInput for any other encoding."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadInput(f"expected UTF-8, found byte 0x{byte:02x} at offset {error.start}: save it as UTF-8") from None
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror}): give the path of a file that is there") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadInput(f"key {twice!r} stands twice: keep one, or list its translations")
    return unique


def _from_document(document: dict[str, Any]) -> Dictionary:
    source = document.get("source")
    source = {key: str(value) for key, value in source.items()} if isinstance(source, dict) else {}
    entries = document.get("entries")
    if isinstance(entries, list) and all(isinstance(item, dict) for item in entries):
        return Dictionary(tuple(_rich_entry(item) for item in entries), source)
    anchors = document.get("anchors")
    if not isinstance(anchors, dict):
        anchors = {key: item for key, item in document.items() if key != "source" or not isinstance(item, dict)}
    return Dictionary.from_mapping(anchors, provenance="curated", source=source)


def _rich_entry(item: dict[str, Any]) -> Entry:
    if unknown := sorted(set(item) - {"anchor", "translations", "kind", "votes", "provenance"}):
        raise BadInput(f"entry {item.get('anchor')!r}: unknown field {unknown[0]!r}: remove it")
    plain = _entry_from_pair(item.get("anchor"), item.get("translations"), "")
    kind, votes, provenance = item.get("kind"), item.get("votes") or [], item.get("provenance") or ""
    whole = isinstance(votes, list) and all(type(vote) is int and vote >= 0 for vote in votes)
    if not whole or not isinstance(provenance, str) or not isinstance(kind, str | None):
        raise BadInput(f"anchor {plain.anchor!r}: expected votes as whole numbers, kind and provenance as text")
    return Entry(plain.anchor, plain.translations, kind, tuple(votes), provenance)


def _shown(value: object) -> str:
    """A found value, short enough for a sentence."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
