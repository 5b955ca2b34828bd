"""What a language model answered, read with patience: an object in any usual form, several, or lines with arrows.

Thinking is never read, wherever its tags stand: models try out objects there that they do not mean. A broken answer
keeps its reason beside the entries that could be saved, so whoever counts answers can tell them from whole ones.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dictionaries.dictionary import KINDS
from dictionaries.literals import MALFORMED, TRUNCATED, Literal, literals_in

PARTIAL = "partial"
ANSWER_REASONS = ("empty", "too long", "no dictionary in it", TRUNCATED, MALFORMED, PARTIAL)
LONGEST_ANSWER = 200_000  # characters without thinking; the longest real one has under 3,000

# What models call the fields of an entry, and what they put entries into.
_ANCHOR = ("anchor", "expression", "original", "source", "term", "name", "phrase", "word", "entity", "from", "key")
_TRANSLATION = (
    *("translation", "translations", "alternative", "alternatives", "replacement", "replacements", "substitute"),
    *("counterpart", "generic", "target", "replace_with", "to", "value"),
)
_KIND = ("kind", "type", "category")
_REMARKS = ("thinking", "thoughts", "reasoning", "explanation", "reason", "note", "notes", "comment", "comments")
_ROLES = frozenset((*_ANCHOR, *_TRANSLATION, *_KIND, *_REMARKS))
_WRAPPERS = frozenset(
    (
        *("entries", "anchors", "expressions", "translations", "replacements", "glossary", "dictionary", "mapping"),
        *("items", "results", "result", "answer", "output", "data", "arguments", "parameters"),
    )
)
_GROUPS = frozenset((*KINDS, *(f"{kind}s" for kind in KINDS), "people", "characters", "creatures", "names", "objects"))

_THINKING = re.compile(
    r"""
    (?P<opens>  [<\[\u25c1] (?:\w+:)? (?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad) [>\]\u25b7]
              | <\|(?:begin_of_thought|start_thinking)\|> | <\|channel\|>\s*(?:analysis|commentary) )
  | (?P<closes> [<\[\u25c1] \s*/\s* (?:\w+:)? (?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad) [>\]\u25b7]
              | <\|(?:end_of_thought|end_thinking)\|> | <\|channel\|>\s*final(?:<\|message\|>)? )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_MARKER = r"\s*(?:[-*+\u2022]\s+|\(?\d+[.):]\s*)"
_ARROW = r"(?:--?>|==?>|[\u2192\u21d2\u2794\u279c\u27f6])"
_LINES = (
    re.compile(rf"(?:{_MARKER})?\s*(?P<left>[^\n]*?)\s*{_ARROW}\s*(?P<right>[^\n]*)"),
    re.compile(rf"{_MARKER}(?P<left>[^:\n]+?)\s*[:\uff1a]\s*(?P<right>[^\n]+)"),
    re.compile(
        r"\s*(?P<left>[\"\u201c][^\"\u201d\n]+[\"\u201d])\s*[:\uff1a]\s*(?P<right>[\"\u201c][^\"\u201d\n]+[\"\u201d])[\s,}]*"
    ),
)
_AROUND = " \t*_`\"'\u201c\u201d\u2018\u2019,;{}"
_FULL_STOP = re.compile(r"(?<=\w{3})\.$")  # not the one of Jr.
_REMARK = re.compile(r"\s*[(\[\uff08](?P<words>[^()\[\]]*)[)\]\uff09]\W*$")


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry of one answer, as the model gave it: not yet believed (validation.py)."""

    anchor: str
    translation: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer proposes. `reason` is None for an answer that could be read whole, else one of ANSWER_REASONS.

    With PARTIAL, `proposals` are the complete entries of a broken answer; with every other reason there are none.
    `skipped` are entries that are no pair of texts, as (entry, why).
    """

    proposals: tuple[Proposal, ...] = ()
    reason: str | None = None
    skipped: tuple[tuple[str, str], ...] = ()


def read_answer(text: str) -> Answer:
    """The entries of one answer, or why there are none. Never raises, whatever the text is."""
    said = without_thinking(text)
    if not said.strip():
        return Answer(reason=TRUNCATED if text.strip() else "empty")  # it thought to its limit
    if len(said) > LONGEST_ANSWER:
        return Answer(reason="too long")
    said = _unwrapped(said)
    literals = list(literals_in(said))
    proposals, skipped = _entries(literals)
    whole = any(literal.fault is None for literal in literals)
    if _is_broken(literals) or not (proposals or whole):
        proposals += _entries_of_lines(said[literals[-1].end :] if literals else said)
    return Answer(tuple(dict.fromkeys(proposals)), _reason(literals, bool(proposals)), tuple(skipped))


def without_thinking(text: str) -> str:
    """What was said. An opening tag that nothing closes goes to the end, a closing one that nothing opened begins."""
    said: list[str] = []
    at, thinking = 0, False
    for tag in _THINKING.finditer(text):
        if tag.lastgroup == "closes":
            if not thinking:
                said.clear()
            at, thinking = tag.end(), False
        elif not thinking:
            said.append(text[at : tag.start()])
            thinking = True
    return "".join(said) + ("" if thinking else text[at:])


def _unwrapped(text: str) -> str:
    """An object that is written as a JSON text is the text's content."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return content if isinstance(content, str) else text


def _entries(literals: Iterable[Literal]) -> tuple[list[Proposal], list[tuple[str, str]]]:
    proposals, skipped = [], []
    for literal in literals:
        for anchor, translation, kind in _pairs(literal.value):
            if isinstance(anchor, str) and isinstance(translation, str):
                proposals.append(Proposal(anchor, translation, _kind(kind)))
            elif literal.fault is None or anchor is not None:
                skipped.append((repr(anchor)[:80], "no pair of texts"))
    return proposals, skipped


def _is_broken(literals: list[Literal]) -> bool:
    """A fault counts where it cost something. Braces in prose, like {name}, are no object beside a whole one."""
    whole = any(literal.fault is None for literal in literals)
    return any(literal.fault == TRUNCATED or (literal.fault and (literal.value or not whole)) for literal in literals)


def _reason(literals: list[Literal], saved: bool) -> str | None:
    if not literals:
        return None if saved else "no dictionary in it"
    if not _is_broken(literals):
        return None
    faults = [literal.fault for literal in literals if literal.fault]
    return PARTIAL if saved else TRUNCATED if TRUNCATED in faults else MALFORMED


def _pairs(value: Any, anchor: Any = None, kind: Any = None) -> Iterator[tuple[Any, Any, Any]]:
    """(anchor, translation, kind) from mappings, entries with named fields, pairs, or any of them in a wrapper."""
    if isinstance(value, list) and anchor is None and len(value) in (2, 3) and all(isinstance(x, str) for x in value):
        yield value[0], value[1], value[-1]
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item, anchor, kind)
    elif not isinstance(value, dict):
        yield anchor, value, kind
    else:
        yield from _pairs_of_mapping(value, anchor, kind)


def _pairs_of_mapping(mapping: dict[Any, Any], anchor: Any, kind: Any) -> Iterator[tuple[Any, Any, Any]]:
    fields = {key.strip().lower(): value for key, value in mapping.items() if isinstance(key, str)}
    wrapped = [value for name, value in fields.items() if name in _WRAPPERS and _holds_entries(value)]
    translation = next((name for name in _TRANSLATION if name in fields), None)
    if wrapped:
        for value in wrapped:
            yield from _pairs(value)
    elif translation is not None:
        named = next((fields[name] for name in _ANCHOR if isinstance(fields.get(name), str)), anchor)
        yield from _pairs(fields[translation], named, next((fields[name] for name in _KIND if name in fields), kind))
    elif anchor is not None:
        yield anchor, None, kind
    else:
        for key, item in mapping.items():
            name = key.strip().lower() if isinstance(key, str) else ""
            if name in _GROUPS and isinstance(item, dict | list):
                yield from _pairs(item, None, name.removesuffix("s"))
            else:
                yield from _pairs(None if name in _ROLES | _WRAPPERS else item, key, kind)


def _holds_entries(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and all(isinstance(item, dict | list) for item in value))


def _kind(named: Any) -> str | None:
    kind = named.strip().lower() if isinstance(named, str) else None
    return "term" if kind == "spell" else kind if kind in KINDS else None


def _entries_of_lines(text: str) -> Iterator[Proposal]:
    """Harry -> Jon; a numbered "Harry: Jon"; a row of a table. Both sides are short, and not the words of a form."""
    for line in text.splitlines():
        cells = _cells(line)
        if cells is None:
            match = next((match for form in _LINES if (match := form.fullmatch(line))), None)
            cells = [match["left"], match["right"]] if match else []
        if len(cells) < 2 or re.search(_ARROW, cells[1]):
            continue
        remark = _REMARK.search(cells[1])
        translation = cells[1][: remark.start()] if remark and remark.start() else cells[1]
        kind = cells[2] if len(cells) > 2 else remark["words"] if remark else None
        left, right = cells[0].strip(_AROUND), _FULL_STOP.sub("", translation.strip(_AROUND))
        if left and right and left.lower() not in _ROLES:
            yield Proposal(left, right, _kind(kind))


def _cells(line: str) -> list[str] | None:
    """The cells of a row of a Markdown table, without its number; None for any other line."""
    line = line.strip()
    if not (line.startswith("|") and line.count("|") > 2):
        return None
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    cells = cells[1:] if cells[0].strip(".)").isdigit() else cells
    return cells if any(char.isalnum() for char in "".join(cells)) else []
