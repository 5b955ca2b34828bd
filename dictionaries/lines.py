"""Entries that a language model wrote without an object: arrows, tables, fields with their names.

Both sides are short, and words of a form ("anchor", "replacement") are never anchors.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

ANCHOR, TRANSLATION, KIND, REMARK = "anchor", "translation", "kind", "remark"
_NAMES = {
    ANCHOR: (
        "anchor anchors expression expressions original source term terms name phrase word entity from old find "
        "before key"
    ),
    TRANSLATION: (
        "translation translations alternative alternatives replacement replacements substitute substitution "
        "counterpart generic target replace_with new with after to value"
    ),
    KIND: "kind type category",
    REMARK: "thinking thoughts reasoning explanation reason note notes comment comments",
}
ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
"""What models call the fields of an entry, and which field it is; of two for one field the earlier counts."""

LONGEST_LINE = 1000  # characters
_MARKER = r"\s*(?:[-*+\u2022]\s+|\(?\d+[.):]\s*)"
_ARROW = r"(?:--?>|==?>|[\u2192\u21d2\u2794\u279c\u27f6])"
_QUOTED = r"[\"\u201c][^\"\u201d\n]+[\"\u201d]"
_BOLD = r"\*\*[^*\n]+\*\*"
_SIDES = (
    re.compile(rf"(?:{_MARKER})?\s*(?P<left>[^\n]*?)\s*{_ARROW}\s*(?P<right>[^\n]*)"),
    re.compile(rf"{_MARKER}(?P<left>[^:\n]+?)\s*[:\uff1a]\s*(?P<right>[^\n]+)"),
    re.compile(rf"\s*(?P<left>{_QUOTED}|{_BOLD})\s*[:=\uff1a]\s*(?P<right>{_QUOTED}|{_BOLD}|\w[^:\n]*)[\s,}}]*"),
    re.compile(rf"(?:{_MARKER})?\s*replace\s+(?P<left>\S.*?)\s+(?:with|by)\s+(?P<right>\S.*)", re.IGNORECASE),
    re.compile(rf"{_MARKER}(?P<left>\S.*?)\s+(?:becomes|is replaced (?:with|by))\s+(?P<right>\S.*)"),
    re.compile(r"\s*(?P<left>[^\s=:][^=:\n]*?)\s+=\s+(?P<right>[^\s={\[(][^=\n]*)"),
)
_FIELD = re.compile(rf"(?:{_MARKER})?\W*(?P<name>\w+)\W*?[:\uff1a]\s*(?P<value>.*)")
_ELEMENT = re.compile(r"<(\w+)>([^<>]*)</\1>")
_AROUND = " \t*_`\"'\u201c\u201d\u2018\u2019,;{}"
_FULL_STOP = re.compile(r"(?<=\w{3})(?P<quotes>[\"'\u201d\u2019*_`]*)\.\s*$")  # not the one of Jr.
_REMARK = re.compile(r"\s*[(\[\uff08](?P<words>[^()\[\]]*)[)\]\uff09]\W*$")

Entry = tuple[str, str, str | None]  # anchor, translation, kind


def entries_of_lines(text: str) -> Iterator[Entry]:
    """The entries of all lines, and of elements of XML as if each were a line."""
    lines = [line for line in _ELEMENT.sub(r"\n\1: \2\n", text).splitlines() if len(line) < LONGEST_LINE]
    yield from _of_forms(lines)
    table: _Table | None = None
    for line in lines:
        table, heading = (known, True) if (known := _table_of(line)) else (table, False)
        cells = [] if heading else _cells(line, table)
        if cells is None:
            sides = next((match for form in _SIDES if (match := form.fullmatch(line))), None)
            cells = [sides["left"], sides["right"]] if sides else []
        if len(cells) > 1 and (entry := _entry(*cells[:3])):
            yield entry


def _entry(anchor: str, translation: str, kind: str = "") -> Entry | None:
    if re.search(_ARROW, translation):
        return None
    remark = _REMARK.search(translation)
    if remark and remark.start():
        translation, kind = translation[: remark.start()], kind or remark["words"]
    left, right = anchor.strip(_AROUND), _FULL_STOP.sub("", translation).strip(_AROUND)
    return (left, right, kind or None) if left and right and left.lower() not in ROLES else None


def _of_forms(lines: list[str]) -> Iterator[Entry]:
    """Expression: Harry, then Replacement: Jon, each on a line of its own."""
    form: dict[str, str] = {}
    for line in [*lines, f"{ANCHOR}:"]:
        field = _FIELD.fullmatch(line)
        role = ROLES.get(field["name"].lower()) if field else None
        if role == ANCHOR:
            if entry := _entry(form.get(ANCHOR, ""), form.get(TRANSLATION, ""), form.get(KIND, "")):
                yield entry
            form = {}
        if field and role:
            form.setdefault(role, field["value"])


@dataclass(frozen=True, slots=True)
class _Table:
    """What stands between the cells of a table, and the places of anchor, translation and kind."""

    delimiter: str
    places: tuple[int, ...]


def _table_of(line: str) -> _Table | None:
    """The table that a line of names begins."""
    for delimiter in "|\t,;":
        roles = [ROLES.get(cell.strip(_AROUND).lower(), "") for cell in line.strip(" |").split(delimiter)]
        if ANCHOR in roles and TRANSLATION in roles:
            return _Table(delimiter, tuple(roles.index(role) for role in (ANCHOR, TRANSLATION, KIND) if role in roles))
    return None


def _cells(line: str, table: _Table | None) -> list[str] | None:
    """Anchor, translation and perhaps kind of a table's row; None for any other line."""
    line = line.strip()
    if table and table.delimiter in line.strip("|"):
        cells = next(csv.reader([line.strip("|")], delimiter=table.delimiter, skipinitialspace=True))
        cells = [cells[place] for place in table.places if place < len(cells)]
    elif line.startswith("|") and line.count("|") > 2:
        cells = line.strip("|").split("|")
        cells = cells[1:] if cells[0].strip(" .)").isdigit() else cells
    else:
        return None
    return cells if any(char.isalnum() for char in "".join(cells)) else []
