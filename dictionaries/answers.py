"""What a language model answered, read with patience: an object in any usual form, several, or lines with arrows.

Thinking is never read, wherever its tags stand: models try out objects there that they do not mean. A broken answer
keeps its reason beside the entries that could be saved, so whoever counts answers can tell them from whole ones.
"""

import html
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dictionaries.dictionary import KINDS
from dictionaries.lines import ANCHOR, KIND, ROLES, TRANSLATION, entries_of_lines
from dictionaries.literals import MALFORMED, TRUNCATED, Literal, literals_in

PARTIAL = "partial"
ANSWER_REASONS = ("empty", "too long", "no dictionary in it", TRUNCATED, MALFORMED, PARTIAL)
LONGEST_ANSWER = 200_000  # characters without thinking; the longest real one has under 3,000

_WRAPPERS = frozenset(
    (
        *("entries", "anchors", "expressions", "translations", "replacements", "glossary", "dictionary", "mapping"),
        *("items", "results", "result", "answer", "output", "data", "arguments", "parameters"),
    )
)
_GROUPS = frozenset((*KINDS, *(f"{kind}s" for kind in KINDS), "people", "characters", "creatures", "names", "objects"))

_THOUGHT = (
    "think(?:ing)?|thoughts?|thought_process|reason(?:ing)?|rationale|reflection|scratchpad|analysis|monologue|planning"
)
_THINKING = re.compile(
    rf"""
    (?P<opens>  [<\[\u25c1] (?:\w+:)? (?:{_THOUGHT}) (?:\s[^<>\n]*)? [>\]\u25b7]
              | <\|(?:begin_of_thought|start_thinking)\|> | <\|channel\|>\s*(?:analysis|commentary) )
  | (?P<closes> [<\[\u25c1] \s*/\s* (?:\w+:)? (?:{_THOUGHT}) [>\]\u25b7]
              | <\|(?:end_of_thought|end_thinking)\|> | <\|channel\|>\s*final(?:<\|message\|>)? )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FENCED_THINKING = re.compile(rf"```(?:{_THOUGHT})\b.*?(?:```|\Z)", re.DOTALL | re.IGNORECASE)


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
    """

    proposals: tuple[Proposal, ...] = ()
    reason: str | None = None


def read_answer(text: str) -> Answer:
    """The entries of one answer, or why there are none. Never raises, whatever the text is."""
    said = without_thinking(text)
    if not said.strip():
        return Answer(reason=TRUNCATED if text.strip() else "empty")  # it thought to its limit
    if len(said) > LONGEST_ANSWER:
        return Answer(reason="too long")
    said = _unwrapped(said)
    literals = [literal for literal in literals_in(said) if not _is_schema(literal.value)]
    proposals = [
        Proposal(anchor, translation, _kind(kind))
        for literal in literals
        for anchor, translation, kind in _pairs(literal.value)
        if isinstance(anchor, str) and isinstance(translation, str)
    ]
    whole = any(literal.fault is None for literal in literals)
    if _is_broken(literals) or not (proposals or whole):
        lines = entries_of_lines(said[literals[-1].end :] if literals else said)
        proposals += [Proposal(anchor, translation, _kind(kind)) for anchor, translation, kind in lines]
    return Answer(tuple(dict.fromkeys(proposals)), _reason(literals, bool(proposals)))


def without_thinking(text: str) -> str:
    """What was said. An opening tag that nothing closes goes to the end, a closing one that nothing opened begins."""
    text = _FENCED_THINKING.sub("", text)
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
    """An object that is written as a JSON text, with or without its own quotation marks, or for HTML."""
    if "&quot;" in text:
        text = html.unescape(text)
    if '\\"' in text and '"' not in text.replace('\\"', ""):
        text = text.replace('\\"', '"')
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return content if isinstance(content, str) else text


def _is_schema(value: Any) -> bool:
    """Whether an object says how an answer should look, and is none."""
    return isinstance(value, dict) and isinstance(value.get("properties"), dict)


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
    named = {role: fields[name] for name, role in reversed(ROLES.items()) if name in fields}
    held = [_held(value) for name, value in fields.items() if name in _WRAPPERS]
    wrapped = [value for value in held if value is not None]
    if wrapped:
        for value in wrapped:
            yield from _pairs(value)
    elif isinstance(named.get(ANCHOR), list) and isinstance(named.get(TRANSLATION), list):
        yield from zip(named[ANCHOR], named[TRANSLATION], itertools.repeat(kind))
    elif TRANSLATION in named:
        names = [fields[name] for name, role in ROLES.items() if role == ANCHOR and isinstance(fields.get(name), str)]
        anchor = next(iter(names), anchor)
        yield from _pairs(named[TRANSLATION] if anchor is not None else None, anchor, named.get(KIND, kind))
    elif anchor is None:
        for key, item in mapping.items():
            name = key.strip().lower() if isinstance(key, str) else ""
            if name in _GROUPS and isinstance(item, dict | list):
                yield from _pairs(item, None, name.removesuffix("s"))
            elif name not in ROLES and name not in _WRAPPERS:
                yield from _pairs(item, key, kind)


def _held(value: Any) -> list[Any] | None:
    """What a wrapper holds: objects or pairs, or a JSON text of them, as in the call of a tool. None for all else."""
    if isinstance(value, str):
        return [literal.value for literal in literals_in(value)] or None
    if isinstance(value, dict):
        return [value]
    items = [item for item in value if isinstance(item, dict | list)] if isinstance(value, list) else []
    return items if items or value == [] else None


def _kind(named: Any) -> str | None:
    kind = named.strip().lower() if isinstance(named, str) else None
    return "term" if kind == "spell" else kind if kind in KINDS else None
