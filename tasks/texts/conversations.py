"""Questions with answers, and chats: recognised, and written as the model reads them.

A model with a chat template reads what its template makes of a conversation; any other reads question and answer on
lines of their own.
"""

from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

from storage.errors import BadInput
from tasks.texts.records import Turn, normalise

PAIRS = (("question", "answer"), ("prompt", "completion"))
"""Columns of a question and its answer."""
CHAT = "messages"
"""The column of a chat: [{role, content}, ...]."""
ASSISTANT = "assistant"

Span = tuple[int, int]
"""First character and the one after the last."""


def turns_of(row: dict[str, Any], where: str) -> tuple[Turn, ...] | None:
    """The conversation in a row: None where its columns hold none, empty where nothing is answered."""
    pair = next((pair for pair in PAIRS if set(pair) <= row.keys()), None)
    if CHAT in row:
        turns = _side(row[CHAT], "", where)
    elif pair:
        turns = [*_side(row[pair[0]], "user", where), *_side(row[pair[1]], ASSISTANT, where)]
    else:
        return None
    answered = any(turn.role == ASSISTANT and turn.content.strip() for turn in turns)
    return tuple(turns) if answered else ()


def _side(value: object, role: str, where: str) -> list[Turn]:
    """A text of this role, or a list of messages."""
    if isinstance(value, str) and role:
        return [Turn(role, value)]
    if not isinstance(value, list | None):
        raise BadInput(f'{where}: expected messages as [{{"role": ..., "content": ...}}], found {type(value).__name__}')
    return [_turn(message, where) for message in value or ()]


def _turn(message: object, where: str) -> Turn:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    if not isinstance(role, str) or not isinstance(content, str):
        raise BadInput(
            f'{where}: expected every message as {{"role": text, "content": text}}, found {str(message)[:80]!r}: '
            "leave out what is no text (calls of tools, images)"
        )
    return Turn(role, content)


def write(turns: Sequence[Turn], tokenizer: Any | None, where: str) -> tuple[str, list[Span]]:
    """(text, its answers' places): through the tokenizer's template; without one, a turn a line. Text is normalised.

    Raises BadInput for a conversation that the template refuses, or writes without one of its answers.
    """
    turns = [Turn(turn.role, normalise(turn.content)) for turn in turns]
    if tokenizer is None:
        return _in_lines(turns)
    text, cursor, answers = _templated(turns, tokenizer, where), 0, list[Span]()
    for number, turn in enumerate(turns):
        if turn.role == ASSISTANT and turn.content.strip():
            before = _templated(turns[:number], tokenizer, where, asks=True) if number else ""
            cursor = max(cursor, len(commonprefix((before, text))))
            start = text.find(turn.content.strip(), cursor)
            if start < 0:
                raise BadInput(
                    f"{where}: expected the model's chat template to write every answer, found that it leaves out "
                    f"{turn.content.strip()[:40]!r}: give the conversation as text"
                )
            cursor = start + len(turn.content.strip())
            answers.append((start, cursor))
    return text, answers


def _in_lines(turns: Sequence[Turn]) -> tuple[str, list[Span]]:
    text, answers = "", list[Span]()
    for turn in turns:
        text += "\n" * bool(text)
        if turn.role == ASSISTANT:
            answers.append((len(text), len(text) + len(turn.content)))
        text += turn.content
    return text, answers


def _templated(turns: Sequence[Turn], tokenizer: Any, where: str, asks: bool = False) -> str:
    """What the template writes, without the token that the tokenizer itself puts in front of every text."""
    from jinja2 import TemplateError

    messages = [turn._asdict() for turn in turns]
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        raise BadInput(
            f"{where}: expected a conversation that the model's chat template takes, found {roles}: {error}: "
            "reorder or leave out turns"
        ) from error
    first = tokenizer.bos_token
    doubled = first and text.startswith(first) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return normalise(text[len(first) :] if doubled else text)
