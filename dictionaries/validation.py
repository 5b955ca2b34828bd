"""What must hold of a proposed entry before it counts: the passage it comes from is untrusted, and so is the answer.

Validation protects the dictionary, not the language model. Whatever a passage made the
model say, at most an entry comes of it: short, printable, with an anchor that really stands in the passage.
"""

import re
import unicodedata
from collections.abc import Iterable

from dictionaries.answers import Proposal
from dictionaries.dictionary import canonical
from dictionaries.spelling import LETTER, RUNNING

LONGEST_ANCHOR = 80  # characters; the longest of the paper's answers that names something has 60
MOST_WORDS = 12

_LETTER = re.compile(LETTER)
_SUSPICIOUS = re.compile(r"[<>{}\[\]|\\`=]|https?:|www\.|[\w.]+@\w")


def validate(proposals: Iterable[Proposal], passage: str) -> tuple[list[Proposal], list[tuple[Proposal, str]]]:
    """The proposals that count for the passage that they were made for, and those that do not with their reason.

    White space in both texts becomes single spaces.
    """
    kept, refused = [], []
    for proposal in proposals:
        reason = _objection(proposal, passage)
        if reason is None:
            kept.append(Proposal(_tidy(proposal.anchor), _tidy(proposal.translation), proposal.kind))
        else:
            refused.append((proposal, reason))
    return kept, refused


def stands_in(expression: str, text: str) -> bool:
    """Whether the expression stands in the text as whole words, in any white space and apostrophes."""
    wanted, text = canonical(expression), canonical(text)
    at = text.find(wanted)  # no expression compiled: answers have thousands of anchors, each another
    while at >= 0 and (_joined(text, at) or _joined(text, at + len(wanted))):
        at = text.find(wanted, at + 1)
    return at >= 0


def _joined(text: str, at: int) -> bool:
    """Whether a word goes on over this place."""
    if not 0 < at < len(text) or not (_LETTER.match(text[at - 1]) and _LETTER.match(text[at])):
        return False
    return not RUNNING.search(text[at - 1 : at + 1])


def _objection(proposal: Proposal, passage: str) -> str | None:
    for text in (proposal.anchor, proposal.translation):
        if objection := unfit(text):
            return objection
    if canonical(proposal.anchor) == canonical(proposal.translation):
        return "translated to itself"
    return None if stands_in(proposal.anchor, passage) else "not in the passage"


def unfit(text: str) -> str | None:
    """Why a text can be neither anchor nor translation, whatever it stands for; None if it can."""
    if not text.strip():
        return "empty"
    if any(unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs", "Cn") and char not in "\n\t\r" for char in text):
        return "control character"
    if len(_tidy(text)) > LONGEST_ANCHOR or len(text.split()) > MOST_WORDS:
        return "too long"
    if not any(char.isalpha() for char in text):
        return "no letter"
    return "markup or address" if _SUSPICIOUS.search(text) else None


def _tidy(text: str) -> str:
    return " ".join(text.split())
