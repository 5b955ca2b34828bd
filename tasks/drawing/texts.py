"""Texts cut to what a page has room for."""

import re

PROMPT_CHARACTERS = 420
TEXT_CHARACTERS = 420


def tail(text: str, limit: int) -> str:
    """The end of a prompt, where the model goes on."""
    text = folded(text)
    return text if len(text) <= limit else "\u2026 " + text[-limit:].split(None, 1)[-1]


def middle(text: str | None, limit: int) -> str:
    """The beginning of a long text."""
    text = text or ""
    return text if len(text) <= limit else text[:limit] + " \u2026"


def folded(text: str) -> str:
    """The text without the line breaks inside its paragraphs: books are wrapped at another width than the page."""
    return re.sub(r"(?<=\S)[ \t]*\n[ \t]*(?=\S)", " ", re.sub(r"\n{3,}", "\n\n", text))
