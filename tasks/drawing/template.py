"""The templates of our pages, and how values are written in them.

Every text is escaped by the template engine; only our own charts are markup.
"""

from typing import Any

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
        "slug": plain_slug,
        "units": _units,
        "visible": _visible,
    }
    return templates


def rendered(name: str, **values: Any) -> str:
    """The page of a template."""
    return str(environment().get_template(name).render(values))


def _plain(value: Any) -> str:
    """Settings and counts in one line: `key value, key value`."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part is not None)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_plain(part) for part in value)}]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}".replace(",", numbers.NARROW) if isinstance(value, int) else str(value)


def _units(sentence: str) -> str:
    """A sentence whose numbers stay with their percent signs."""
    return sentence.replace(" %", f"{numbers.NARROW}%")


def plain_slug(text: str) -> str:
    """A text as part of an id."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())


def _visible(token: str) -> str:
    """A token whose leading space and line breaks can be seen."""
    spaces = len(token) - len(token.lstrip(" "))
    return "\u2423" * spaces + token[spaces:].replace("\n", "\u21b5")
