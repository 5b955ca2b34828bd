"""Curated, answered and counted entries become one dictionary, in which the curated ones stand as they were written.

The consistency pass may rename what an extractor found, so that it fits the curated
entries, and never the other way round. Where both cannot stand, the extracted entry goes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dictionaries.answers import read_answer
from dictionaries.consistency import consistent
from dictionaries.dictionary import Dictionary, Entry, canonical
from dictionaries.matching import Containment
from dictionaries.merging import Decision, Vote, collect_votes, fold, merge
from dictionaries.validation import validate
from tasks.contents import Row
from tasks.llm.asking import USABLE

SHOWN = 80  # characters of a refused expression
OVERRULES = 1_000_000_000  # votes of a curated entry while translations are shared out


@dataclass(frozen=True)
class Extracted:
    """What an extractor found: entries, the votes behind them, and what it left out, with reasons."""

    dictionary: Dictionary
    votes: tuple[Vote, ...] = ()
    decisions: tuple[Decision, ...] = ()


def from_answers(rows: Iterable[Row], documents: list[str]) -> Extracted:
    """The readable answers, and what was saved of broken ones, validated against their passages, counted and merged."""
    rows = list(rows)
    whole = {row["passage"] for row in rows if row["reason"] is None}
    proposed, decisions = [], []
    for row in rows:
        if row["reason"] is None or (row["reason"] in USABLE and row["passage"] not in whole):
            first, length = row["first_character"], row["characters"]
            passage = documents[row["document_id"]][first : first + length]
            kept, objections = validate(read_answer(row["answer"]).proposals, passage)
            proposed.append((row["passage"], kept))
            decisions += [
                Decision(refused.anchor[:SHOWN], refused.translation[:SHOWN], "", f"refused: {reason}")
                for refused, reason in objections
            ]
    votes, folded = fold(collect_votes(proposed))
    dictionary, dropped = merge(votes)
    return Extracted(dictionary, tuple(votes), (*decisions, *folded, *dropped))


def together(curated: Dictionary, extracted: Dictionary, seed: int) -> tuple[Dictionary, list[Decision]]:
    """One dictionary, and what was changed in the extracted entries to make it one."""
    if not extracted.entries:
        return curated, []
    fitting, dropped = _fitting(curated, extracted)
    strong = [replace(entry, votes=(OVERRULES,) * len(entry.translations)) for entry in curated.entries]
    merged, changed = consistent(Dictionary((*strong, *fitting), curated.source), seed)
    own = {entry.anchor: entry for entry in curated.entries}
    decisions = dropped + [decision for decision in changed if decision.anchor not in own]
    return Dictionary(tuple(own.get(entry.anchor, entry) for entry in merged.entries), curated.source), decisions


def _fitting(curated: Dictionary, extracted: Dictionary) -> tuple[list[Entry], list[Decision]]:
    """The extracted entries that no curated one has, and that no curated translation contains."""
    anchors = {canonical(entry.anchor) for entry in curated.entries}
    containment = Containment(entry.anchor for entry in extracted.entries)
    texts = (text for entry in curated.entries for text in entry.translations)
    inside = {anchor for text in texts for anchor in containment.inside(text)}
    kept, decisions = [], []
    for entry in extracted.entries:
        curated_too = canonical(entry.anchor) in anchors
        if not curated_too and entry.anchor not in inside:
            kept.append(entry)
            continue
        why = "a curated entry has it" if curated_too else "stands in a curated translation"
        decisions += [Decision(entry.anchor, translation, "", why) for translation in entry.translations]
    return kept, decisions
