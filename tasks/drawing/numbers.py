"""Numbers and spans as a person reads them. Shares are fractions in code and percent on the page."""

MINUS = "\u2212"
NARROW = "\u202f"  # narrow no-break space between thousands, and before a unit


def count(value: float) -> str:
    """A whole number, thousands apart."""
    return f"{round(value):,}".replace(",", NARROW)


def fixed(value: float | None, digits: int = 3) -> str:
    """So many decimals; a dash where there is no value."""
    if value is None:
        return "\u2013"
    text = f"{value:.{digits}f}"
    return (MINUS + text[1:] if float(text) else text[1:]) if text.startswith("-") else text


def percent(share: float | None, digits: int = 1) -> str:
    return fixed(None if share is None else 100 * share, digits) + ("" if share is None else f"{NARROW}%")


def signed(value: float, digits: int = 3) -> str:
    """A change, with its sign; no sign on what rounds to nothing."""
    text = fixed(value, digits)
    return f"+{text}" if value > 0 and float(text.replace(MINUS, "-")) else text


def amount(size: float, unit: str) -> str:
    """`1 anchor`, `2 anchors`."""
    return f"{count(size)} {unit}" + ("" if round(size) == 1 else "s")


def clock(seconds: float) -> str:
    """A duration in the units that fit it."""
    if seconds < 60:
        return f"{seconds:.1f}{NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h {minutes:02d}{NARROW}min" if hours else f"{minutes}{NARROW}min {rest:02d}{NARROW}s"
