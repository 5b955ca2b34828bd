"""A block rewritten without its anchors, and what each of its positions may still teach (METHOD.md 2, 3, 5).

Trap: the translated block is not the translated text tokenised anew. The ids outside anchors are kept, only
the tokens of an anchor are replaced, so an untouched position has a partner that has seen the same text.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from dictionaries.english import FUNCTION_WORDS
from dictionaries.matching import Match
from tasks.method.tokens import Tokens

REASONS = (
    *("special token", "inside an anchor", "unaligned tokenisation", "repeated anchor", "end of block"),
    "outside the answers",
)
"""Why a position does not train, as stored. Where several hold, the first of this order is the one stored."""
SPECIAL, INSIDE, UNALIGNED, REPEATED, END, OUTSIDE = REASONS

Encode = Callable[[str, str], Tokens]
"""encode(left, text): `text` as the tokenizer writes it right after the characters `left`; edges count from
text's start. An empty `left` is the start of a document."""

WORD = re.compile(r"\w(?:[\w'\u2019]*\w)?")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An anchor found in a block: its dictionary entry, its first original token, the translation used."""

    entry: int
    position: int
    translation: str


@dataclass(frozen=True, slots=True)
class Block:
    """One block: T original and U translated tokens, F forbidden ids.

    `mapping[t]` is the translated position that has seen the same text as original position t, or -1. A
    position trains where `reasons[t]` is None. `forbidden_ids[f]` (distinct) is forbidden in every row
    j >= `forbidden_from[f]` of the translated block.
    """

    original_ids: list[int]
    translated_ids: list[int]
    mapping: list[int]
    reasons: list[str | None]
    forbidden_ids: list[int]
    forbidden_from: list[int]
    occurrences: list[Occurrence]


@dataclass(slots=True)
class Region:
    """Tokens first..last (both included) that give way to the translations of the matches inside them."""

    first: int
    last: int
    matches: list[Match]


@dataclass(frozen=True, slots=True)
class Piece:
    """What replaces a region: its text, where each translation begins in it, the translations as they are written
    there, its tokens, their place in the block."""

    text: str
    starts: list[int]
    translations: list[str]
    tokens: Tokens
    place: int


def translate_block(
    tokens: Tokens, text: str, matches: Iterable[Match], choose: Callable[[int], str], encode: Encode
) -> Block:
    """Translate one block of a document.

    `text` is the whole document's; `matches` are those inside the block, in order and not overlapping;
    `choose(entry)` gives the block's one translation for an anchor and is asked once per entry, in order of
    first appearance.
    """
    regions = _regions(tokens, text, matches)
    entries = dict.fromkeys(match.entry for region in regions for match in region.matches)
    chosen = {entry: choose(entry) for entry in entries}
    translated_ids, mapping, pieces = _splice(tokens, text, regions, chosen, encode)
    forbidden = _forbidden(pieces, encode)
    return Block(
        original_ids=list(tokens.ids),
        translated_ids=translated_ids,
        mapping=mapping,
        reasons=_reasons(tokens, regions),
        forbidden_ids=list(forbidden),
        forbidden_from=list(forbidden.values()),
        occurrences=[
            Occurrence(match.entry, _position(tokens, region, match), chosen[match.entry])
            for region in regions
            for match in region.matches
        ],
    )


def only_answers(block: Block, tokens: Tokens, answers: Sequence[Sequence[int]]) -> Block:
    """The block with every position in training taken out that predicts no token of an answer.

    `answers` are parts of the document's text (first character, end).
    """
    within = [*tokens.within(answers)[1:], False]
    reasons = [reason or (None if kept else OUTSIDE) for reason, kept in zip(block.reasons, within, strict=True)]
    return replace(block, reasons=reasons)


def meaning_start(translation: str) -> int:
    """Character at which a translation starts to mean something: "The Elixir" -> 4. All function words ->
    0."""
    words = WORD.finditer(translation)
    return next((word.start() for word in words if word.group().lower() not in FUNCTION_WORDS), 0)


def _regions(tokens: Tokens, text: str, matches: Iterable[Match]) -> list[Region]:
    regions: list[Region] = []
    for match in matches:
        region = _region(tokens, text, match)
        if region is None:
            continue
        if regions and region.first <= regions[-1].last:
            regions[-1].last = max(region.last, regions[-1].last)
            regions[-1].matches.append(match)
        else:
            regions.append(region)
    return regions


def _region(tokens: Tokens, text: str, match: Match) -> Region | None:
    """The tokens that overlap a match, out to whole characters; None where the block cuts one."""
    edges, clean = tokens.edges, tokens.clean
    first = _token_at(tokens, match.start)
    end = bisect_left(edges, match.reach)
    while first > 0 and not clean[first]:
        first -= 1
    while end < len(tokens.ids) and not clean[end]:
        end += 1
    # A tokenizer without a piece for space and letter writes them apart. The space belongs to the anchor as
    # it would in one piece, or the translation would stand in the block as no tokenizer writes it.
    alone = first > 0 and edges[first] == match.start and text[edges[first - 1] : edges[first]] == " "
    if alone and clean[first - 1]:
        first -= 1
    if not clean[first] or not clean[end] or any(tokens.special[first:end]):
        return None
    return Region(first, end - 1, [match])


def _position(tokens: Tokens, region: Region, match: Match) -> int:
    """The match's first token; a region begins with its first match."""
    return region.first if match is region.matches[0] else _token_at(tokens, match.start)


def _token_at(tokens: Tokens, character: int) -> int:
    return bisect_right(tokens.edges, character) - 1


def _splice(
    tokens: Tokens, text: str, regions: Sequence[Region], chosen: dict[int, str], encode: Encode
) -> tuple[list[int], list[int], list[Piece]]:
    """Translated ids (U), mapping (T) and the pieces that were put in."""
    ids: list[int] = []
    mapping: list[int] = []
    pieces: list[Piece] = []
    for region in regions:
        kept = tokens.ids[len(mapping) : region.first]
        mapping += range(len(ids), len(ids) + len(kept))
        ids += kept
        piece = _piece(tokens, text, region, chosen, encode, len(ids))
        ids += piece.tokens.ids
        mapping += [-1] * (region.last - region.first) + [len(ids) - 1]
        pieces.append(piece)
    kept = tokens.ids[len(mapping) :]
    mapping += range(len(ids), len(ids) + len(kept))
    return ids + list(kept), mapping, pieces


def _piece(tokens: Tokens, text: str, region: Region, chosen: dict[int, str], encode: Encode, place: int) -> Piece:
    begin, end = tokens.edges[region.first], tokens.edges[region.last + 1]
    written, at, starts, translations = "", begin, [], []
    for match in region.matches:
        written += text[at : match.start]
        starts.append(len(written))
        translations.append(match.write(chosen[match.entry]))
        written += translations[-1] + match.particles(translations[-1])
        at = match.reach
    written += text[at:end]
    replacing = encode(text[max(begin - 1, 0) : begin], written)
    if not replacing.ids:
        raise ValueError(f"expected a translation that the tokenizer can write, found no id for {written!r}")
    return Piece(written, starts, translations, replacing, place)


def _reasons(tokens: Tokens, regions: Sequence[Region]) -> list[str | None]:
    """One reason or None per original position. Later assignments win, so the order here is REASONS
    backwards."""
    reasons: list[str | None] = [None] * len(tokens.ids)
    reasons[-1:] = [END] * len(reasons[-1:])
    seen: set[int] = set()
    for region in regions:
        if region.matches[0].entry in seen:
            reasons[region.first - 1] = REPEATED
        seen.update(match.entry for match in region.matches)
        reasons[region.first : region.last] = [INSIDE] * (region.last - region.first)
        for match in region.matches[:-1]:
            last = _token_at(tokens, match.reach - 1)
            if last < region.last:
                reasons[last] = UNALIGNED
    return [SPECIAL if special else reason for special, reason in zip(tokens.special, reasons, strict=True)]


def _forbidden(pieces: Sequence[Piece], encode: Encode) -> dict[int, int]:
    """Forbidden id -> first row of the translated block in which it is."""
    spellings: dict[str, set[int]] = {}
    rows: dict[int, int] = {}
    for piece in pieces:
        for start, translation in zip(piece.starts, piece.translations, strict=True):
            if translation not in spellings:
                spellings[translation] = _spellings(translation, encode)
            known = spellings[translation]
            meaning = (start + meaning_start(translation), start + len(translation))
            used = _carrier(piece.tokens, piece.text, meaning, known)
            row = piece.place + (len(piece.tokens.ids) if used is None else used + 1)
            for token in sorted(known if used is None else known | {piece.tokens.ids[used]}):
                rows.setdefault(token, row)
    return rows


def _spellings(translation: str, encode: Encode) -> set[int]:
    """Ids that begin the meaning of a translation, with and without a space before it, after a line break."""
    meaning = translation[meaning_start(translation) :]
    tokens = set()
    for before in (" ", ""):
        text = before + meaning
        written = encode("\n", text)
        if (carrier := _carrier(written, text, (len(before), len(text)))) is not None:
            tokens.add(written.ids[carrier])
    return tokens


def _carrier(tokens: Tokens, text: str, part: tuple[int, int], known: Collection[int] = ()) -> int | None:
    """The first token in a part of `text` that holds a whole letter or digit of it, or is a known spelling.

    A lone space or one byte of a character carries nothing: forbidding it would forbid every other word that
    begins with it. Known spellings count because the offsets of a document's first word may give its first
    letter to the space that SentencePiece puts before it.
    """
    start, end = part
    for t, token in enumerate(tokens.ids):
        own = text[max(tokens.edges[t], start) : min(tokens.edges[t + 1], end)]
        whole = tokens.clean[t] and tokens.clean[t + 1] and any(map(str.isalnum, own))
        if whole or (token in known and tokens.edges[t + 1] > start):
            return t
    return None
