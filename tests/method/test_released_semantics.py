"""Our blocks against the semantics of the released code, which works on tokens and knows nothing of characters.

The reference follows METHOD.md 2 and 3: every anchor is two sequences of tokens, with and without a space before; the
first that matches is replaced by the translation written the same way.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from tasks.method.tokens import Tokens
from tasks.method.translation import Encode, translate_block

# Every anchor one translation; none begins another; no translation begins with a function word.
DICTIONARY = {"Dorothy": "Susan", "Toto": "Max", "Scarecrow": "Straw Boy", "Woodman": "Metal Man", "Kansas": "Texas"}
OTHERS = ["the", "dog", "went", "to", "see", "and", "said", "was", "in", "big", "house", "with", "happy"]


@dataclass
class Released:
    """One block as the released code makes it."""

    translated: list[int] = field(default_factory=list)
    mapping: list[int] = field(default_factory=list)
    trains: list[bool] = field(default_factory=list)
    forbidden: dict[int, int] = field(default_factory=dict)


def released(ids: list[int], spell: Callable[[str], list[int]]) -> Released:
    """Walk the tokens once, from left to right."""
    made, seen, i = Released(), set(), 0
    keys = [(spell(space + a), spell(space + t), a) for a, t in DICTIONARY.items() for space in (" ", "")]
    while i < len(ids):
        hit = next((key for key in keys if ids[i : i + len(key[0])] == key[0]), None)
        if hit is None:
            made.translated.append(ids[i])
            made.mapping.append(len(made.translated) - 1)
            made.trains.append(True)
            i += 1
            continue
        length, translation, anchor = len(hit[0]), hit[1], hit[2]
        if anchor in seen and made.trains:
            made.trains[-1] = False
        seen.add(anchor)
        for space in (" ", ""):
            made.forbidden.setdefault(spell(space + DICTIONARY[anchor])[0], len(made.translated) + 1)
        made.translated += translation
        made.mapping += [-1] * (length - 1) + [len(made.translated) - 1]
        made.trains += [False] * (length - 1) + [True]
        i += length
    made.trains[-1:] = [False]  # no successor
    return made


def differing(block_tokens: Tokens, text: str, encode: Encode, spell: Callable[[str], list[int]]) -> list[int]:
    """Positions at which the two disagree in any respect; all of them when the translated ids differ."""
    known = Dictionary.from_mapping(DICTIONARY)
    matches = Matcher(known).find(text, block_tokens.edges[0], block_tokens.edges[-1])
    choose = [entry.translations[0] for entry in known.entries].__getitem__
    ours = translate_block(block_tokens, text, matches, choose, encode)
    theirs = released(block_tokens.ids, spell)
    if ours.translated_ids != theirs.translated:
        return list(range(len(block_tokens.ids)))
    forbidden = dict(zip(ours.forbidden_ids, ours.forbidden_from, strict=True))
    return [
        t
        for t, reason in enumerate(ours.reasons)
        if ours.mapping[t] != theirs.mapping[t]
        or (reason is None) != theirs.trains[t]
        or (reason is None and differs_in_row(forbidden, theirs.forbidden, ours.mapping[t]))
    ]


def differs_in_row(ours: dict[int, int], theirs: dict[int, int], row: int) -> bool:
    first, second = ({token for token, start in rows.items() if start <= row} for rows in (ours, theirs))
    return first != second


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece"])
@pytest.mark.parametrize("seed", range(5))
def test_every_position_of_a_dictionary_without_hazards_agrees(
    name: str, seed: int, request: pytest.FixtureRequest, read: Callable, encoder: Callable
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    draw, encode = random.Random(seed), encoder(tokenizer)
    begin = {tokenizer.decode([encode("\n", " " + t).ids[0]]).strip() for t in DICTIONARY.values()}
    assert all(begin)  # a lone space would be forbidden there and is not here: a hazard, avoided
    words = [draw.choice([*DICTIONARY, *OTHERS, *OTHERS]) for _ in range(200)]
    text = "it " + "".join(word + draw.choice([" ", " ", " ", ", ", "\n", '. "']) for word in words) + "end"
    tokens = read(tokenizer, text)
    assert differing(tokens, text, encode, lambda written: encode("\n", written).ids) == []


def test_every_position_of_a_real_book_agrees(
    stories_path: Path, sentencepiece: Tokenizer, read: Callable, encoder: Callable
) -> None:
    book = stories_path.parents[1] / "books" / "01_wonderful_wizard_of_oz.txt"
    text = book.read_text(encoding="utf-8")[:120_000]
    tokens, encode = read(sentencepiece, text), encoder(sentencepiece)
    differ = positions = 0
    for start in range(0, len(tokens.ids), 512):
        block = tokens.block(start, start + 512)
        differ += len(differing(block, text, encode, lambda written: encode("\n", written).ids))
        positions += len(block.ids)
    assert positions > 40_000
    assert differ == 0
