"""Tokens and words as text: the student's tokenizer, the dictionary in use, passages beside their translation.

Text of the corpus is untrusted. Nothing here makes markup: marked text is a list of (text, mark) pieces that the
template escapes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.reader import Row, rows
from storage.shards import read_shard
from tasks.drawing.texts import folded

Pieces = list[tuple[str, str]]
"""(text, mark): mark is empty, anchor or translation."""

HALF = "\ufffd"
VISIBLE = str.maketrans({" ": "\u2423", "\u2581": "\u2423", "\n": "\u21b5", "\t": "\u21e5"})
_PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = (byte for byte in range(256) if byte not in _PRINTED)
BYTES = {chr(byte): byte for byte in _PRINTED} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}
"""The characters that byte-level tokenizers write for bytes, as GPT-2's does."""
PASSAGES = 3
PASSAGE_CHARACTERS = 700
USED = """
SELECT anchor, count(*) AS occurrences, count(DISTINCT block_id) AS blocks
FROM (SELECT block_id, unnest(anchors) AS anchor FROM blocks) GROUP BY anchor
"""
RICH = """
SELECT block_id FROM (
    SELECT block_id, len(list_distinct(anchors)) AS richness, ntile(?) OVER (ORDER BY block_id) AS part FROM blocks)
WHERE richness > 0 QUALIFY row_number() OVER (PARTITION BY part ORDER BY richness DESC, block_id) = 1 ORDER BY block_id
"""


class Decoder:
    """Token ids as text, without transformers: the page needs no model library."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._byte_level = self._tokenizer.token_to_id("\u0120") is not None

    def text(self, ids: Sequence[int]) -> str:
        """The text of a run of tokens, special ones left out, and what is left of characters that its ends cut."""
        return str(self._tokenizer.decode(list(ids))).strip(HALF)

    def token(self, token: int) -> str:
        """One token with its spaces made visible; a part of a character as its bytes."""
        written = self._tokenizer.id_to_token(token)
        if written is None:
            return f"token {token}"
        if self._byte_level and set(written) <= BYTES.keys():
            written = bytes(map(BYTES.__getitem__, written)).decode("utf-8", "backslashreplace")
        elif byte := re.fullmatch("<0x([0-7].)>", written):
            written = chr(int(byte[1], 16))
        # Alone, SentencePiece would drop its leading space.
        return str(written.translate(VISIBLE))


def dictionary_facts(connection: Any, dictionary: Dictionary, blocks: Path) -> list[Row]:
    """Every entry with its occurrences in the blocks, the most frequent first."""
    connection.register("blocks", read_shard(blocks / "blocks.arrow"))
    used = {row["anchor"]: row for row in rows(connection, USED)}
    entries = [
        {
            "anchor": entry.anchor,
            "translations": list(entry.translations),
            "kind": entry.kind,
            "provenance": entry.provenance,
            "occurrences": used.get(entry.anchor, {}).get("occurrences", 0),
            "blocks": used.get(entry.anchor, {}).get("blocks", 0),
        }
        for entry in dictionary.entries
    ]
    return sorted(entries, key=lambda row: (-row["occurrences"], row["anchor"]))


def passages(connection: Any, dictionary: Dictionary, decoder: Decoder, blocks: Path) -> list[Row]:
    """Passages rich in anchors from different parts of the corpus: {block, original, translated} as pieces."""
    table = read_shard(blocks / "blocks.arrow")
    connection.register("blocks", table)
    shown = []
    for row in rows(connection, RICH, [PASSAGES]):
        block = table.slice(row["block_id"], 1).to_pylist()[0]  # blocks lie in the order of their ids
        original, translated = (folded(decoder.text(block[f"{side}_ids"])) for side in ("original", "translated"))
        drawn = dict(zip(block["anchors"], block["translations"], strict=True))
        left, right = beside(dictionary, original, translated, drawn)
        shown.append({"block": row["block_id"], "original": left, "translated": right})
    return shown


def beside(dictionary: Dictionary, original: str, translated: str, drawn: dict[str, str]) -> tuple[Pieces, Pieces]:
    """Original and translation in step, marked where they differ, and cut at about the same place.

    The translated text is what the tokenizer gives back, so it is followed piece by piece; from where it cannot be
    followed (a character that the vocabulary lacks), it is shown without marks.
    """
    left: Pieces = []
    right: Pieces = []
    at = there = 0
    for match in Matcher(dictionary).find(original):
        anchor = dictionary.entries[match.entry].anchor
        before, said = original[at : match.start], match.write(drawn[anchor]) if anchor in drawn else None
        start = there + len(before)
        if said is None or translated[there:start] != before or not translated.startswith(said, start):
            break
        said += match.particles(said)
        if match.end > PASSAGE_CHARACTERS:
            break
        left += [(before, ""), (original[match.start : match.reach], "anchor")]
        right += [(before, ""), (said, "translation")]
        at, there = match.reach, start + len(said)
    room = max(0, PASSAGE_CHARACTERS - at)
    left.append((_cut(original[at:], room), ""))
    right.append((_cut(translated[there:], room), ""))
    return left, right


def marked(matcher: Matcher, text: str) -> Pieces:
    """The text with every anchor in it marked."""
    pieces: Pieces = []
    at = 0
    for match in matcher.find(text):
        pieces += [(text[at : match.start], ""), (text[match.start : match.end], "anchor")]
        at = match.end
    return [piece for piece in [*pieces, (text[at:], "")] if piece[0]]


def _cut(text: str, room: int) -> str:
    """At most `room` characters, cut between words, with a sign that more follows."""
    if len(text) <= room:
        return text
    return re.sub(r"\S*$", "", text[:room]).rstrip() + " \u2026"
