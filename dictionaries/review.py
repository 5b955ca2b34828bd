"""A person's review: the dictionary as a table that any spreadsheet opens, and back with approve, change or reject.

The table is untrusted in both directions. Cells that a spreadsheet would run as a
formula get an apostrophe in front, which is taken off again; and a row counts only for the decision that stands in it,
so what was edited without "change" is refused, not taken over in silence. What an extractor proposed and did not use
has rows, too: it is used where it is approved or changed, and not without a decision.
"""

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import StringIO
from pathlib import Path

from dictionaries.dictionary import KINDS, Dictionary, Entry, read_utf8
from dictionaries.lint import RULES, rules_by_anchor
from dictionaries.matching import Matcher
from dictionaries.statistics import PROPOSED
from dictionaries.validation import unfit
from storage.errors import BadInput

COLUMNS = ("anchor", "translation", "alternatives", "votes", "kind", "example", "lint", "decision", "by")
DECISIONS = ("approve", "change", "reject")
_REQUIRED = ("anchor", "translation", "alternatives", "kind", "decision")
_BETWEEN = " | "
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\n|%]")
NONE = Dictionary(())
_CONTEXT = 90  # characters on each side of an anchor in its example


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One decision of a person. `translations` are those that hold from now on; empty where the anchor was rejected.

    `before` is None where it was about a proposal.
    """

    anchor: str
    decision: str
    before: tuple[str, ...] | None
    translations: tuple[str, ...]
    kind: str | None
    by: str
    at: str


def export_review(
    dictionary: Dictionary, path: str | Path, corpus: Iterable[str] = (), proposed: Dictionary = NONE
) -> int:
    """Write the table, proposals and entries that the lint speaks of first. Returns the number of rows."""
    texts = list(corpus)
    rules = rules_by_anchor(dictionary, texts or None) | {entry.anchor: [PROPOSED] for entry in proposed.entries}
    examples = example_sentences(dictionary, texts) | example_sentences(proposed, texts)
    entries = (*dictionary.entries, *proposed.entries)
    rows = [_row(entry, examples.get(entry.anchor, ""), rules.get(entry.anchor, [])) for entry in entries]
    rows.sort(key=lambda row: (not row["lint"], row["anchor"]))
    buffer = StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS)
    writer.writeheader()
    writer.writerows({name: defused(text) for name, text in row.items()} for row in rows)
    Path(path).write_bytes(buffer.getvalue().encode("utf-8-sig"))  # the mark tells spreadsheets that it is UTF-8
    return len(rows)


def import_review(
    dictionary: Dictionary, path: str | Path, by: str, at: datetime, proposed: Dictionary = NONE
) -> tuple[Dictionary, list[Reviewed]]:
    """The dictionary as the table decided, and the decisions; a row without one stays as it is.

    `by` is the reviewer for rows that name nobody, `at` the moment of the decision. BadInput names the line of a row
    that cannot be meant: an unknown anchor or decision, an anchor twice, a translation that the lint would refuse.
    """
    entries = {entry.anchor: entry for entry in dictionary.entries}
    known = {entry.anchor: entry for entry in proposed.entries} | entries
    reviewed: list[Reviewed] = []
    lines: dict[str, int] = {}
    for line, row in _known_rows(Path(path), known):
        anchor, decision = row["anchor"], row["decision"].lower()
        after = _decided(known[anchor], row, f"review {path}, line {line}")
        if not decision:
            continue
        before = entries.pop(anchor).translations if anchor in entries else None
        entries |= {anchor: after} if after else {}
        lines |= {anchor: line} if decision == "change" or before is None else {}
        held = after or replace(known[anchor], translations=(), kind=None)
        name = row.get("by") or by
        reviewed.append(Reviewed(anchor, decision, before, held.translations, held.kind, name, at.isoformat()))
    corrected = Dictionary(tuple(entries.values()), dictionary.source)
    _refuse_new_errors(dictionary, corrected, lines, path)
    return corrected, reviewed


def example_sentences(dictionary: Dictionary, corpus: Iterable[str]) -> dict[str, str]:
    """For each anchor that the matcher finds, its first occurrence with some text around it, on one line."""
    matcher, examples = Matcher(dictionary), dict[str, str]()
    for text in corpus:
        for match in matcher.find(text):
            anchor = dictionary.entries[match.entry].anchor
            if anchor not in examples:
                around = text[max(0, match.start - _CONTEXT) : match.end + _CONTEXT].split(" ")
                examples[anchor] = " ".join(" ".join(around[1:-1] or around).split())
        if len(examples) == len(dictionary):
            break
    return examples


def defused(text: str) -> str:
    """With an apostrophe in front where a spreadsheet would take the text for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def armed(text: str) -> str:
    """defused() undone."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def _row(entry: Entry, example: str, rules: Sequence[str]) -> dict[str, str]:
    return {
        "anchor": entry.anchor,
        "translation": entry.translations[0] if entry.translations else "",
        "alternatives": _BETWEEN.join(entry.translations[1:]),
        "votes": _BETWEEN.join(map(str, entry.votes)),
        "kind": entry.kind or "",
        "example": example,
        "lint": "; ".join(rules),
        "decision": "",
        "by": "",
    }


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """(line, cells) of a table with commas, semicolons or tabs: spreadsheets write what their country uses."""
    try:
        text = read_utf8(path)
    except BadInput as error:
        raise BadInput(f"review {path}: {error}") from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    if missing := [name for name in _REQUIRED if name not in (reader.fieldnames or ())]:
        raise BadInput(f"review {path}, line 1: expected the columns {', '.join(_REQUIRED)}, found no {missing[0]!r}")
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadInput(f"review {path}, line {reader.line_num}: expected {len(reader.fieldnames or ())} cells")
            if any(map(str.strip, row.values())):  # else one that was emptied in a spreadsheet
                yield reader.line_num, {name: armed(" ".join(cell.split())) for name, cell in row.items()}
    except csv.Error as error:
        raise BadInput(f"review {path}, line {reader.line_num + 1}: {error}: export the table again") from None


def _known_rows(path: Path, known: Collection[str]) -> Iterable[tuple[int, dict[str, str]]]:
    """The rows of a table, each about another anchor that is known."""
    lines: dict[str, int] = {}
    for line, row in _rows(path):
        where, anchor = f"review {path}, line {line}", row["anchor"]
        if anchor in lines:
            raise BadInput(f"{where}: anchor {anchor!r} stands in line {lines[anchor]} already: keep one of the rows")
        if anchor not in known:
            raise BadInput(f"{where}: the dictionary has no anchor {anchor!r}: new ones belong into a curated file")
        lines[anchor] = line
        yield line, row


def _decided(entry: Entry, row: Mapping[str, str], where: str) -> Entry | None:
    """The entry after its row; None where it was rejected."""
    decision = row["decision"].lower()
    translations = [text for text in (row["translation"], *map(str.strip, row["alternatives"].split("|"))) if text]
    same = tuple(translations) == entry.translations and row["kind"] == (entry.kind or "")
    if decision not in ("", *DECISIONS):
        raise BadInput(f"{where}: expected a decision of {', '.join(DECISIONS)}, or none, found {row['decision']!r}")
    if decision == "reject":
        return None
    if decision != "change":
        if not same:
            raise BadInput(f'{where}: {entry.anchor!r} was edited: decide "change" to take it over')
        return entry
    if not translations:
        raise BadInput(f"{where}: {entry.anchor!r} is changed to nothing: write a translation, or reject it")
    for translation in translations:
        if unfit(translation):
            raise BadInput(f"{where}: {translation!r} is no translation ({unfit(translation)}): write another")
    if row["kind"] not in ("", *KINDS):
        raise BadInput(f"{where}: expected a kind of {', '.join(KINDS)}, found {row['kind']!r}")
    return replace(entry.translated(dict.fromkeys(translations)), kind=row["kind"] or None)


def _refuse_new_errors(before: Dictionary, after: Dictionary, lines: Mapping[str, int], path: str | Path) -> None:
    """BadInput where a decided entry breaks a rule that stops a run, or makes another entry break one."""
    broken = _errors(before)
    for anchor, rules in _errors(after).items():
        if new := [rule for rule in rules if anchor in lines or rule not in broken.get(anchor, ())]:
            where = f", line {lines[anchor]}" if anchor in lines else ""
            raise BadInput(f"review {path}{where}: {anchor!r} would break a rule ({new[0]}): write another translation")


def _errors(dictionary: Dictionary) -> dict[str, list[str]]:
    rules = rules_by_anchor(dictionary)
    return {anchor: [rule for rule in broken if RULES[rule][0] == "error"] for anchor, broken in rules.items()}
