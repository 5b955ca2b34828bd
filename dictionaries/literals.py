"""JSON as language models write it: Python's literals, comments, spare and missing commas, curly quotes, a lost end.

A fault ends a value and is no exception: what was complete before it is the value, without the pair that it is in.
"""

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TRUNCATED, MALFORMED = "truncated", "malformed"
DEEPEST = 8
_OPENING = re.compile(r"\[\s*[\[{(]|[{\uff5b]")
_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | \#[^\n]* | //[^\n]* | /\*.*?\*/ )
  | (?P<text>  "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
  | (?P<curly> [\u201c\u201d\u201e\uff02](?:[^"\u201c\u201d\uff02\\\n]|\\.)*["\u201c\u201d\uff02]
             | [\u2018\u2019](?:[^\\\n]|\\.)*?[\u2018\u2019](?=\s*[:,}\]\uff1a\uff0c]|\s*$)
             | [\u300c\u300e][^\u300d\u300f\n]*[\u300d\u300f] | \u00ab[^\u00bb\n]*\u00bb | `[^`\n]*` )
  | (?P<mark>  [{}()\[\]:,;\uff1a\uff0c\uff1b\uff5b\uff5d\uff3b\uff3d] )
  | (?P<bare>  [\w.+-]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTES = "\"'\u201c\u201d\u201e\uff02\u2018\u2019\u300c\u300e"
_AS_JSON = {"\uff1a": ":", "\uff0c": ",", "\uff1b": ",", "\uff5b": "{", "\uff5d": "}", "\uff3b": "[", "\uff3d": "]"}
_AS_JSON |= {"(": "[", ")": "]", ";": ","}
_NO_TEXT = re.compile(r"(?:null|none|nil|nan|undefined|true|false|[^A-Za-z_]*)", re.IGNORECASE)

Token = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a dict, a list, or None for a number or a constant. `fault` is TRUNCATED or MALFORMED, or None."""

    value: Any
    fault: str | None
    start: int
    end: int


def literals_in(text: str) -> Iterator[Literal]:
    """The dicts of a text, and lists of dicts or lists, one after another. What a fault leaves is read on behind it."""
    end = 0
    while (opening := _OPENING.search(text, end)) is not None:
        reader = _Reader(text, opening.start())
        value = reader.value(reader.token(), 0)
        end = max(reader.at, opening.start() + 1)
        yield Literal(value, reader.fault, opening.start(), end)


class _Reader:
    """Reads one value. After a fault every token is "end", so that all loops close with what they have."""

    def __init__(self, text: str, at: int) -> None:
        self._text, self.at = text, at
        self.fault: str | None = None

    def token(self) -> Token:
        while self.fault is None and self.at < len(self._text):
            match = _TOKEN.match(self._text, self.at)
            if match is None:
                lost_end = self._text[self.at] in _QUOTES and "\n" not in self._text[self.at :].strip()
                return self._ended(TRUNCATED if lost_end else MALFORMED)
            self.at = match.end()
            if match.lastgroup == "text":
                return "text", _unescaped(match.group())
            if match.lastgroup == "curly":
                return "text", match.group()[1:-1].replace('\\"', '"')
            if match.lastgroup != "space":
                return str(match.lastgroup), _AS_JSON.get(match.group(), match.group())
        return self._ended(TRUNCATED)

    def value(self, token: Token, depth: int) -> Any:
        kind, written = token
        if kind != "mark":
            return written if kind == "text" or (kind == "bare" and not _NO_TEXT.fullmatch(written)) else None
        if depth == DEEPEST or written not in "{[":
            return self._ended(MALFORMED)[1]
        return self._mapping(depth + 1) if written == "{" else self._sequence(depth + 1)

    def _mapping(self, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        while (token := self.token()) != ("mark", "}") and token[0] != "end":
            if token == ("mark", ","):
                continue
            if token[0] == "mark" or self.token() != ("mark", ":"):
                self._ended(MALFORMED)
                break
            key, value = token[1], self.value(self.token(), depth)
            if self.fault is None or isinstance(value, dict | list):  # what a fault left of a value counts
                mapping[key] = [mapping[key], value] if key in mapping else value  # a key that stands twice has both
        return mapping

    def _sequence(self, depth: int) -> list[Any]:
        items = []
        while (token := self.token()) != ("mark", "]") and token[0] != "end":
            value = None if token == ("mark", ",") else self.value(token, depth)
            if token != ("mark", ",") and (self.fault is None or isinstance(value, dict | list)):
                items.append(value)
        return items

    def _ended(self, fault: str) -> Token:
        self.fault = self.fault or fault
        return "end", None


def _unescaped(literal: str) -> str:
    """JSON's escapes, then Python's, else what stands there."""
    for reader in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError):
            return str(reader(literal))
    return literal[1:-1]
