"""Many answers become one dictionary: votes per (anchor, translation), with the passages behind them.

merge() is the paper's plain merge (1,599 anchors of 380 answers). Folding spelling
variants (fold) and making translations fit each other (consistency.py) are steps of their own: they change entries.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from dictionaries.answers import Proposal
from dictionaries.dictionary import Dictionary, Entry, canonical
from dictionaries.spelling import in_case_of


@dataclass(frozen=True, slots=True)
class Vote:
    """The passages (ids, sorted) whose answers gave this translation for this anchor, and the kinds they named."""

    anchor: str
    translation: str
    passages: tuple[str, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """One change made without a person, and why. `to` is empty where something was dropped."""

    anchor: str
    translation: str
    to: str
    reason: str


def collect_votes(answers: Iterable[tuple[str, Iterable[Proposal]]]) -> list[Vote]:
    """One vote per passage for each (anchor, translation) that it proposes; the order of the answers does not count.

    Spellings that the matcher cannot tell apart (white space, apostrophes) are one anchor, spelled as what sorts first.
    """
    spelling: dict[str, str] = {}
    said: dict[tuple[str, str, str, str | None], None] = {}
    for passage, proposals in answers:
        for proposal in proposals:
            anchor, translation = " ".join(proposal.anchor.split()), " ".join(proposal.translation.split())
            spelling[canonical(anchor)] = min(anchor, spelling.get(canonical(anchor), anchor))
            said[canonical(anchor), translation, passage, proposal.kind] = None
    return _joined(
        Vote(spelling[anchor], translation, (passage,), (kind,) if kind else ())
        for anchor, translation, passage, kind in said
    )


def merge(votes: Iterable[Vote]) -> tuple[Dictionary, list[Decision]]:
    """The paper's merge: all votes, without the anchors that split into others. Translations by votes, then by name."""
    by_anchor: defaultdict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_anchor[vote.anchor].append(vote)
    decisions, entries = [], []
    for anchor, proposals in by_anchor.items():
        if splits(anchor, by_anchor):
            decisions += [Decision(anchor, vote.translation, "", "splits into other anchors") for vote in proposals]
        else:
            entries.append(_entry(anchor, proposals))
    return Dictionary(tuple(entries)), decisions


def splits(anchor: str, anchors: Iterable[str]) -> bool:
    """METHOD 4: every word of it is an anchor, or it is the possessive of an anchor."""
    if anchor.endswith("'s") and anchor[:-2] in anchors:
        return True
    words = anchor.split(" ")
    return len(words) > 1 and all(word in anchors for word in words)


def fold(votes: Iterable[Vote]) -> tuple[list[Vote], list[Decision]]:
    """Possessives move to their base; spellings that differ in case, hyphens or spaces share their votes.

    A variant stays an anchor of its own, since the matcher is exact: only its translations become those of the others.
    """
    votes, decisions = list(votes), []
    anchors = {vote.anchor for vote in votes}
    moved = []
    for vote in votes:
        base, translation = without_possessive(vote.anchor), without_possessive(vote.translation)
        if base == vote.anchor or (base not in anchors and translation == vote.translation):
            moved.append(vote)
        else:
            moved.append(Vote(base, translation, vote.passages, vote.kinds))
            decisions.append(Decision(vote.anchor, vote.translation, f"{base}: {translation}", "possessive folded"))
    for shared in _shared_by_variants(moved):
        moved.append(shared)
        decisions.append(Decision(shared.anchor, "", shared.translation, "translation of another spelling"))
    return _joined(moved), decisions


def without_possessive(expression: str) -> str:
    """ "Beater's" -> "Beater", "the Weasleys'" -> "the Weasleys"; anything else as it is."""
    plain = expression.replace("\u2019", "'")
    if plain.endswith("'s") and len(plain) > 3:
        return expression[:-2]
    return expression[:-1] if plain.endswith("s'") and len(plain) > 3 else expression


def variant_key(anchor: str) -> str:
    """The same for every spelling of one expression: letters and digits, lower case."""
    return "".join(char for char in anchor.casefold() if char.isalnum()) or anchor


def _shared_by_variants(votes: list[Vote]) -> list[Vote]:
    """What each spelling gets from the others of its group, in its own case."""
    groups: defaultdict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        groups[variant_key(vote.anchor)].append(vote)
    return [
        Vote(anchor, in_case_of(anchor, vote.translation), vote.passages, vote.kinds)
        for group in groups.values()
        for anchor in sorted({vote.anchor for vote in group})
        for vote in group
        if vote.anchor != anchor
    ]


def _joined(votes: Iterable[Vote]) -> list[Vote]:
    """Votes for the same pair as one."""
    passages: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    kinds: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for vote in votes:
        passages[vote.anchor, vote.translation].update(vote.passages)
        kinds[vote.anchor, vote.translation] += vote.kinds
    return sorted_votes(
        Vote(*pair, tuple(sorted(behind)), tuple(sorted(kinds[pair]))) for pair, behind in passages.items()
    )


def sorted_votes(votes: Iterable[Vote]) -> list[Vote]:
    """By anchor, then by number of passages, then by translation."""
    return sorted(votes, key=lambda vote: (vote.anchor, -len(vote.passages), vote.translation))


def _entry(anchor: str, votes: list[Vote]) -> Entry:
    ordered = sorted_votes(votes)
    named = Counter(kind for vote in votes for kind in vote.kinds)
    kind = min(named, key=lambda name: (-named[name], name)) if named else None
    counts = tuple(len(vote.passages) for vote in ordered)
    return Entry(anchor, tuple(vote.translation for vote in ordered), kind, counts, "answers")
