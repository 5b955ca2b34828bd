"""Text in the one form that is hashed, matched and tokenised."""

import unicodedata


def normalise(text: str) -> str:
    """NFC, Unix line ends, no byte-order mark."""
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
