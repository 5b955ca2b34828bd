"""The templates of our pages, and how values are written in them.

Every text is escaped by the template engine; only our own charts are markup.
"""

import re
from pathlib import Path
from typing import Any

from storage.errors import BadInput
from tasks.drawing import numbers


def environment() -> Any:
    """Templates that escape every text, with our filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("tasks.drawing", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "fixed", "percent", "signed", "amount", "clock"):
        templates.filters[name] = getattr(numbers, name)
    templates.filters |= {
        "short": lambda fingerprint: (fingerprint or "")[:12],
        "plain": _plain,
        "escaped": _escaped,
        "slug": plain_slug,
        "units": lambda sentence: sentence.replace(" %", f"{numbers.NARROW}%"),  # they stay with their numbers
        "visible": _visible,
    }
    return templates


def rendered(name: str, **values: Any) -> str:
    """The page of a template."""
    return str(environment().get_template(name).render(values))


def markdown(name: str, parts: dict[str, Any], own: Path | None = None) -> str:
    """A template of ours, or a user's in its place, as Markdown. Raises BadInput for a user's that cannot be used."""
    templates = environment().overlay(autoescape=False)
    try:
        template = templates.from_string(own.read_text(encoding="utf-8")) if own else templates.get_template(name)
        return str(template.render(parts))
    except Exception as error:  # a template is a program, and can fail as any does
        if own is None:
            raise
        raise BadInput(f"{own}: expected a template as Jinja reads it, found {error}") from error


def _plain(value: Any) -> str:
    """Settings and counts in one line: `key value, key value`."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(part) for part in value)}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}".replace(",", numbers.NARROW) if isinstance(value, int) else str(value)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return " ".join(re.sub(r"[\\`*_<>|\[\]]", r"\\\g<0>", text).split())


def plain_slug(text: str) -> str:
    """A text as part of an id."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())


def _visible(token: str) -> str:
    """A token whose leading space and line breaks can be seen."""
    spaces = len(token) - len(token.lstrip(" "))
    return "\u2423" * spaces + token[spaces:].replace("\n", "\u21b5")
