"""Random texts, cut anywhere, with real tokenizers: against a slow reference and against the bytes themselves."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Match, Matcher
from tasks.method.tokens import Tokens
from tasks.method.translation import Block, Encode, translate_block

DICTIONARY = Dictionary.from_mapping(
    {
        "Harry": "Jon",
        "Ron": "Tom",
        "Hogwarts": "Mystic Academy",
        "Felix Felicis": "The Fortune Elixir",
        "Zoé": "Élan",
        "é": "of the",
        "哈利": "Jo哈",
        "Mr.": "Sir",
        "don't": "won't",
    }
)
TRANSLATIONS = [entry.translations[0] for entry in DICTIONARY.entries]
MATCHER = Matcher(DICTIONARY)
PARTS = (
    *("Harry", "Ron", "Hogwarts", "Felix Felicis", "Felix\nFelicis", "Zoé", "é", "哈利", "Mr.", "don\u2019t", "Mystic"),
    *("met", "the", "in", "Ronald", "”", "“", "—", "哈", " ", " ", " ", "  ", "\n", "'s", "(", ") ", ", ", "-"),
)
TEXTS = st.lists(st.sampled_from(PARTS), max_size=25).map("".join)
RELAXED = settings(
    deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Read = Callable[[Tokenizer, str], Tokens]
Encoder = Callable[[Tokenizer], Encode]
Region = tuple[set[int], list[Match]]
Expected = tuple[list[int], list[int], list[str | None], list[tuple[int, int, list[Match]]]]
SKIPPED = {"The Fortune Elixir": "The "}
"""Function words at the start of our translations; "of the" is nothing else and skips none."""

# The byte that each sign of a byte-level vocabulary stands for: printable ones themselves, the others from 256 on.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
BYTE_OF = {chr(byte): byte for byte in PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(OTHERS)}


@pytest.fixture(params=["byte_level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return request.getfixturevalue(request.param)


def characters(offsets: list[tuple[int, int]]) -> list[set[int]]:
    """The characters that each token of a document stands for, a leading space included."""
    found, before = [], 0
    for start, end in offsets:
        found.append(set(range(min(start, before), end)))
        before = end
    return found


def slow_regions(own: list[set[int]], block: range, text: str, matches: list[Match]) -> list[Region]:
    """Sets of tokens that give way: grow until no other token holds one of their characters, then merge."""
    regions: list[Region] = []
    for match in matches:
        inside = {t for t, held in enumerate(own) if held & set(range(match.start, match.end))}
        while grown := {t for t, held in enumerate(own) if held & set().union(*(own[i] for i in inside))} - inside:
            inside |= grown
        space = min(inside) - 1
        alone = space in block and own[space] == {match.start - 1} and min(own[min(inside)]) == match.start
        if alone and text[match.start - 1] == " " and not (space and own[space] & own[space - 1]):
            inside.add(space)
        if not inside <= set(block):
            continue  # the block cuts a character of the anchor
        if regions and inside & regions[-1][0]:
            regions[-1] = (regions[-1][0] | inside, [*regions[-1][1], match])
        else:
            regions.append((inside, [match]))
    return regions


def slow_text(begin: int, end: int, text: str, matches: list[Match]) -> str:
    written = ""
    for c in range(begin, end):
        written += "".join(TRANSLATIONS[match.entry] for match in matches if match.start == c)
        written += "" if any(match.start <= c < match.end for match in matches) else text[c]
    return written


def slow_reason(t: int, own: list[set[int]], block: range, regions: list[Region]) -> str | None:
    for inside, found in regions:
        if t in inside and t != max(inside):
            last = [min(i for i in inside if match.end - 1 in own[i]) for match in found[:-1]]
            return "unaligned tokenisation" if t in last else "inside an anchor"
    earlier = {match.entry for inside, found in regions if min(inside) <= t for match in found}
    for inside, found in regions:
        if min(inside) == t + 1 and found[0].entry in earlier:
            return "repeated anchor"
    return "end of block" if t == block[-1] else None


def slow_block(ids: list[int], own: list[set[int]], block: range, text: str, encode: Encode) -> Expected:
    """Translated ids, mapping, reasons, and the place and text of every replacement."""
    chars = set().union(*(own[t] for t in block))
    before = set().union(*(own[t] for t in range(block.start)))
    matches = MATCHER.find(text, min(chars - before, default=0), max(chars - before, default=-1) + 1)
    regions = slow_regions(own, block, text, matches)
    translated: list[int] = []
    mapping: list[int] = []
    pieces: list[tuple[int, int, list[Match]]] = []
    for t in block:
        region = next(((inside, found) for inside, found in regions if t in inside), None)
        if region is None:
            translated.append(ids[t])
        elif t == max(region[0]):
            held = sorted(set().union(*(own[i] for i in region[0])))
            pieces.append((len(translated), held[0], region[1]))
            piece = slow_text(held[0], held[-1] + 1, text, region[1])
            translated += encode(text[max(held[0] - 1, 0) : held[0]], piece).ids
        mapping.append(len(translated) - 1 if region is None or t == max(region[0]) else -1)
    return translated, mapping, [slow_reason(t, own, block, regions) for t in block], pieces


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, float, float]:
    """A text, and where a block begins and ends as shares of its tokens."""
    first, end = sorted((draw(st.sampled_from([0.0, 0.3, 0.5])), draw(st.sampled_from([0.6, 0.8, 1.0]))))
    return draw(TEXTS), first, end


@RELAXED
@given(drawn=cut_texts())
def test_blocks_equal_the_slow_reference(
    drawn: tuple[str, float, float], tokenizer: Tokenizer, read: Read, encoder: Encoder
) -> None:
    text, first, end = drawn
    tokens = read(tokenizer, text)
    block = range(int(first * len(tokens.ids)), int(end * len(tokens.ids)))
    own = characters(tokenizer.encode(text, add_special_tokens=False).offsets)
    found = translated_block(tokens.block(block.start, block.stop), text, encoder(tokenizer))
    ids, mapping, reasons, _ = slow_block(tokens.ids, own, block, text, encoder(tokenizer))
    assert found.translated_ids == ids
    assert found.mapping == mapping
    assert found.reasons == reasons


def translated_block(tokens: Tokens, text: str, encode: Encode) -> Block:
    matches = MATCHER.find(text, tokens.edges[0], tokens.edges[-1])
    return translate_block(tokens, text, matches, TRANSLATIONS.__getitem__, encode)


def token_bytes(tokenizer: Tokenizer, token: int) -> bytes:
    """The bytes that a token writes."""
    piece = tokenizer.id_to_token(token)
    if BYTE_OF.keys() >= set(piece) and tokenizer.normalizer is None:
        return bytes(BYTE_OF[sign] for sign in piece)
    if piece.startswith("<0x"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("▁", " ").encode()


@RELAXED
@given(text=TEXTS)
def test_mapped_positions_have_seen_the_same_bytes(
    text: str, tokenizer: Tokenizer, read: Read, encoder: Encoder
) -> None:
    tokens = read(tokenizer, text)
    block = translated_block(tokens, text, encoder(tokenizer))
    matches = MATCHER.find(text)
    start = " " if tokenizer.normalizer is not None and text else ""  # SentencePiece begins with a space
    seen = b""
    seen_by = [seen := seen + token_bytes(tokenizer, token) for token in block.translated_ids]
    for t, place in enumerate(block.mapping):
        if place >= 0 and tokens.clean[t + 1]:
            passed = [match for match in matches if match.end <= tokens.edges[t + 1]]
            assert seen_by[place].decode() == start + slow_text(0, tokens.edges[t + 1], text, passed), t
    if block.mapping:
        assert block.mapping[-1] == len(block.translated_ids) - 1


def slow_carrier(written: list[bytes], first: int, end: int) -> int | None:
    """First token that holds a whole letter or digit between two bytes."""
    at = 0
    for i, piece in enumerate(written):
        try:
            signs = piece.decode()
        except UnicodeDecodeError:
            signs = ""
        places = [at + len(signs[:n].encode()) for n in range(len(signs))]
        if any(sign.isalnum() and first <= place < end for sign, place in zip(signs, places, strict=True)):
            return i
        at += len(piece)
    return None


@RELAXED
@given(text=TEXTS)
def test_forbidden_tokens_equal_the_slow_reference(
    text: str, tokenizer: Tokenizer, read: Read, encoder: Encoder
) -> None:
    tokens, encode = read(tokenizer, text), encoder(tokenizer)
    block = translated_block(tokens, text, encode)
    own = characters(tokenizer.encode(text, add_special_tokens=False).offsets)
    *_, pieces = slow_block(tokens.ids, own, range(len(tokens.ids)), text, encode)
    expected: dict[int, int] = {}
    for place, begin, found in pieces:
        for number, match in enumerate(found):
            translation = TRANSLATIONS[match.entry]
            before = slow_text(begin, match.start, text, found[:number])
            lead = " " if begin == 0 and tokenizer.normalizer is not None else ""
            skipped = SKIPPED.get(translation, "")
            first = len((lead + before + skipped).encode())
            end = len((lead + before + translation).encode())
            count = len(slow_text(begin, match.end, text, found[: number + 1]))
            assert count == len(before + translation)
            written = [token_bytes(tokenizer, token) for token in block.translated_ids[place:]]
            used = slow_carrier(written, first, end)
            ids = set() if used is None else {block.translated_ids[place + used]}
            for space in (" ", ""):
                spelled = encode("\n", space + translation[len(skipped) :]).ids
                whole = len((space + translation[len(skipped) :]).encode())
                carrier = slow_carrier([token_bytes(tokenizer, token) for token in spelled], len(space), whole)
                ids |= set() if carrier is None else {spelled[carrier]}
            assert used is not None or not ids
            for token in ids:
                expected.setdefault(token, place + (used or 0) + 1)
    assert dict(zip(block.forbidden_ids, block.forbidden_from, strict=True)) == expected
