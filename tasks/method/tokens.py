"""Tokens and the characters that they stand for, whatever the tokenizer's convention of offsets.

Trap: a character may be spread over several tokens (byte fallback, byte-level BPE), so not every place
between two tokens is a place between two characters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage.errors import BadInput

DOCUMENTS_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Tokens:
    """T tokens of a text. Token t stands for text[edges[t]:edges[t + 1]]; a leading space belongs to its
    token.

    `edges` (T + 1) never falls. `clean[t]` (T + 1) says that the edge before token t lies between two
    characters. A character spread over several tokens counts to the first of them; the others stand for
    nothing more.
    """

    ids: list[int]
    edges: list[int]
    clean: list[bool]
    special: list[bool]

    @classmethod
    def from_offsets(
        cls,
        ids: Sequence[int],
        offsets: Sequence[tuple[int, int]],
        special: Sequence[bool | int] | None = None,
    ) -> "Tokens":
        """Read a fast tokenizer's answer for a whole text: ids, offset_mapping, special_tokens_mask (default:
        none)."""
        marks = [bool(mark) for mark in special] if special is not None else [False] * len(ids)
        edges, clean = [0], []
        for (start, end), mark in zip(offsets, marks, strict=True):
            # Only ends are trusted: some tokenizers cut the leading space out of the offsets. An added
            # special token has offsets (0, 0) wherever it stands.
            clean.append(mark or start == end or start >= edges[-1])
            edges.append(max(edges[-1], end))
        return cls(list(ids), edges, [*clean, True], marks)

    @property
    def opening(self) -> int:
        """How many special tokens the tokenizer puts before a text."""
        return opening(self.special)

    def block(self, first: int, end: int) -> "Tokens":
        """Tokens first..end-1; edges still count from the text's start."""
        return Tokens(
            self.ids[first:end],
            self.edges[first : end + 1],
            self.clean[first : end + 1],
            self.special[first:end],
        )

    def opened(self, first: int, end: int) -> "Tokens":
        """Tokens first..end-1 of the text, behind the special tokens that open it; these stand for nothing."""
        opening, rest = self.opening, self.block(first, end)
        return Tokens(
            self.ids[:opening] + rest.ids,
            rest.edges[:1] * opening + rest.edges,
            rest.clean[:1] * opening + rest.clean,
            self.special[:opening] + rest.special,
        )

    def after(self, character: int) -> "Tokens | None":
        """The tokens from a character on, edges counted from it. None where a token lies across it."""
        starts = [t for t, edge in enumerate(self.edges) if edge == character and self.clean[t]]
        if not starts:
            return None
        rest = self.block(starts[-1], len(self.ids))
        return Tokens(rest.ids, [edge - character for edge in rest.edges], rest.clean, rest.special)

    def within(self, spans: Sequence[Sequence[int]] | None) -> list[bool]:
        """For each token whether it stands for a character of one of these parts of the text (first, end).

        None is the whole text, with its special tokens.
        """
        if spans is None:
            return [True] * len(self.ids)
        edges = zip(self.edges, self.edges[1:], strict=False)
        return [any(start < last and first < end for first, last in spans) for start, end in edges]


def opening(special: Sequence[bool | int]) -> int:
    """How many special tokens stand before the first that is none."""
    return next((place for place, mark in enumerate(special) if not mark), len(special))


def cut_blocks(tokenizer: Any, documents: list[str], length: int) -> Iterator[tuple[int, str, Tokens]]:
    """(document id, its text, the tokens of a block) for every block; a document's short last block is kept.

    Every block is opened as the tokenizer opens a text: some models predict nothing sensible without their BOS. Raises
    BadInput where that leaves no room.
    """
    for first in range(0, len(documents), DOCUMENTS_PER_BATCH):
        batch = documents[first : first + DOCUMENTS_PER_BATCH]
        encoding = tokenizer(
            batch, return_offsets_mapping=True, return_special_tokens_mask=True, return_attention_mask=False
        )
        columns = (encoding[name] for name in ("input_ids", "offset_mapping", "special_tokens_mask"))
        for document, (text, *encoded) in enumerate(zip(batch, *columns, strict=True)):
            tokens = Tokens.from_offsets(*encoded)
            step = length - tokens.opening
            if step < 1:
                raise BadInput(
                    f"expected blocks longer than the {tokens.opening} tokens that open a text, found length {length}"
                )
            for start in range(tokens.opening, len(tokens.ids), step):
                yield first + document, text, tokens.opened(start, start + step)
