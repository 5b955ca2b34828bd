"""What a language model answered, read with patience: JSON, Python-looking literals, fences, comments, spare commas.

An answer that was cut off is refused whole, although its first entries could be read. A
model that runs into its limit is often repeating itself by then, and the passage can be asked about again.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dictionaries.dictionary import KINDS

ANSWER_REASONS = ("empty", "too long", "no dictionary in it", "truncated", "malformed")
LONGEST_ANSWER = 200_000  # characters; the longest real one has under 3,000
_DEEPEST = 8
_WRAPPERS = {"entries", "anchors", "translations"}

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | \#[^\n]* | //[^\n]* | /\*.*?\*/ )
  | (?P<text>  "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
  | (?P<mark>  [{}\[\]:,] )
  | (?P<bare>  [\w.+-]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry of one answer, as the model gave it: not yet believed (validation.py)."""

    anchor: str
    translation: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one answer proposes. `reason` is one of ANSWER_REASONS where it could not be read, else None.

    `skipped` are entries of a readable answer that are no pair of texts, as (entry, why).
    """

    proposals: tuple[Proposal, ...] = ()
    reason: str | None = None
    skipped: tuple[tuple[str, str], ...] = ()


class _Unreadable(Exception):
    """Carries one of ANSWER_REASONS up to read_answer()."""


def read_answer(text: str) -> Answer:
    """The entries of one answer, or why there are none. Never raises, whatever the text is."""
    if not text.strip():
        return Answer(reason="empty")
    if len(text) > LONGEST_ANSWER:
        return Answer(reason="too long")
    opening = re.search(r"\[\s*\{|\{", text)
    if opening is None:
        return Answer(reason="no dictionary in it")
    try:
        value = _value(_tokens(text, opening.start()), 0)
    except _Unreadable as found:
        return Answer(reason=str(found))
    proposals, skipped = [], []
    for anchor, translation, kind in _pairs(value):
        if isinstance(anchor, str) and isinstance(translation, str):
            proposals.append(Proposal(anchor, translation, _kind(kind)))
        else:
            skipped.append((repr(anchor)[:80], "no pair of texts"))
    return Answer(tuple(dict.fromkeys(proposals)), None, tuple(skipped))


def _tokens(text: str, at: int) -> Iterator[tuple[str, Any]]:
    """(kind, value) from `at` on. Running out of text inside a value means that the answer was cut."""
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            cut = text[at] in "\"'" and "\n" not in text[at:].strip()
            raise _Unreadable("truncated" if cut else "malformed")
        at = token.end()
        if token.lastgroup == "text":
            yield "text", _unescaped(token.group())
        elif token.lastgroup != "space":
            yield str(token.lastgroup), token.group()
    raise _Unreadable("truncated")


def _unescaped(literal: str) -> str:
    """JSON's escapes, then Python's, else what stands there."""
    for reader in (json.loads, ast.literal_eval):
        try:
            return str(reader(literal))
        except (ValueError, SyntaxError):
            continue
    return literal[1:-1]


def _value(tokens: Iterator[tuple[str, Any]], depth: int, first: tuple[str, Any] | None = None) -> Any:
    """A text, a dict, a list, or None for a number or a name."""
    kind, value = first or next(tokens)
    if kind != "mark":
        return value if kind == "text" else None
    if depth == _DEEPEST or value not in "{[":
        raise _Unreadable("malformed")
    return _mapping(tokens, depth + 1) if value == "{" else _sequence(tokens, depth + 1)


def _mapping(tokens: Iterator[tuple[str, Any]], depth: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for kind, key in tokens:
        if (kind, key) == ("mark", "}"):
            break
        if (kind, key) == ("mark", ","):
            continue
        if kind == "mark" or next(tokens) != ("mark", ":"):
            raise _Unreadable("malformed")
        value = _value(tokens, depth)
        found[key] = [found[key], value] if key in found else value  # a key that stands twice has both
    return found


def _sequence(tokens: Iterator[tuple[str, Any]], depth: int) -> list[Any]:
    items = []
    for token in tokens:
        if token == ("mark", "]"):
            break
        if token != ("mark", ","):
            items.append(_value(tokens, depth, token))
    return items


def _pairs(value: Any, anchor: Any = None, kind: Any = None) -> Iterator[tuple[Any, Any, Any]]:
    """(anchor, translation, kind) from a mapping, a list of {anchor, translation, kind}, or either in a wrapper."""
    if isinstance(value, list):
        for item in value:
            yield from _pairs(item, anchor, kind)
    elif not isinstance(value, dict):
        yield anchor, value, kind
    elif "translation" in value:
        yield from _pairs(value["translation"], value.get("anchor", anchor), value.get("kind"))
    elif len(value) == 1 and set(value) <= _WRAPPERS and isinstance(next(iter(value.values())), dict | list):
        yield from _pairs(next(iter(value.values())))
    elif anchor is None:
        for key, item in value.items():
            yield from _pairs(item, key, kind)
    else:
        yield anchor, None, kind


def _kind(found: Any) -> str | None:
    kind = found.strip().lower() if isinstance(found, str) else None
    return "term" if kind == "spell" else kind if kind in KINDS else None
