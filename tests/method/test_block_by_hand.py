"""A block of ten tokens, translated and labelled by hand."""

import re

import torch

from dictionaries.matching import Match
from tasks.method.curve import label_curves
from tasks.method.equation import forbid, generic_logits, measure_rows
from tasks.method.tokens import Tokens
from tasks.method.translation import Block, Occurrence, translate_block

TEXT = "Felix Felicis met Ron. Ron saw Hogwarts and Ron"
TRANSLATIONS = ["The Elixir", "Tom", "Mystic Academy"]  # of Felix Felicis, Ron, Hogwarts
VOCABULARY = [
    *("Felix", " Felicis", " met", " Ron", ".", " saw", " Hogwarts", " and", "Ron", "The", " The", "Elixir"),
    *(" Elixir", "Tom", " Tom", "Mystic", " Mystic", " Academy", "Academy", " Felix"),
]


def read(text: str) -> Tokens:
    """Words with the space before them, and single signs."""
    pieces = list(re.finditer(r" ?\w+|\W", text))
    return Tokens.from_offsets([VOCABULARY.index(piece.group()) for piece in pieces], [p.span() for p in pieces])


def words(ids: list[int]) -> list[str]:
    return [VOCABULARY[i] for i in ids]


def block() -> Block:
    matches = [Match(0, 13, 0), Match(18, 21, 1), Match(23, 26, 1), Match(31, 39, 2), Match(44, 47, 1)]
    return translate_block(read(TEXT), TEXT, matches, TRANSLATIONS.__getitem__, lambda left, text: read(text))


def test_the_translation_of_ten_tokens() -> None:
    found = block()
    assert words(found.original_ids) == [
        *("Felix", " Felicis", " met", " Ron", ".", " Ron", " saw", " Hogwarts", " and", " Ron")
    ]
    assert words(found.translated_ids) == [
        *("The", " Elixir", " met", " Tom", ".", " Tom", " saw", " Mystic", " Academy", " and", " Tom")
    ]
    assert found.mapping == [-1, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    assert found.reasons == [
        "inside an anchor",
        None,
        None,  # the first " Ron" may be predicted
        None,
        "repeated anchor",
        None,
        None,
        None,
        "repeated anchor",
        "end of block",
    ]
    assert found.occurrences == [
        Occurrence(0, 0, "The Elixir"),
        Occurrence(1, 3, "Tom"),
        Occurrence(1, 5, "Tom"),
        Occurrence(2, 7, "Mystic Academy"),
        Occurrence(1, 9, "Tom"),
    ]


def test_the_forbidden_tokens_of_ten_tokens() -> None:
    found = block()
    rows = dict(zip(words(found.forbidden_ids), found.forbidden_from, strict=True))
    # Not "The": it means nothing. Each from the row after its own position.
    assert rows == {"Elixir": 2, " Elixir": 2, "Tom": 4, " Tom": 4, "Mystic": 8, " Mystic": 8}


def test_the_labels_of_ten_tokens() -> None:
    found = block()
    logits_of: dict[int, tuple[dict[str, float], dict[str, float]]] = {
        # original position: (baseline at its translated position, reinforced); what is not named is 0 in both
        1: ({" met": 5.0, " saw": 3.0}, {" met": 5.5, " saw": 3.0}),  # raised by the target: 5 - 5 * 0.5 < 3
        2: ({" Tom": 6.0}, {" Tom": 6.0}),  # translated position 2: "Tom" has not been there yet
        3: ({".": 4.0}, {".": 4.25}),
        5: ({" Tom": 9.0, " saw": 4.0}, {" Tom": 9.0, " saw": 4.0}),  # forbidden by now: the mean, 13 / 20
        6: ({" Mystic": 7.0}, {" Hogwarts": 9.0}),  # "Mystic" comes at 7, row 6 may predict it
        7: ({" Mystic": 9.0, " and": 1.0}, {" and": 1.0}),  # row 8: forbidden
    }
    positions = [t for t, reason in enumerate(found.reasons) if reason is None]
    assert positions == list(logits_of)
    b, r = torch.zeros(6, 20), torch.zeros(6, 20)
    for row, models in enumerate(logits_of.values()):
        for rows, named in zip((b, r), models, strict=True):
            for word, value in named.items():
                rows[row, VOCABULARY.index(word)] = value
    places = torch.tensor(found.mapping)[positions]
    rows_P, entries_P = (places[:, None] >= torch.tensor(found.forbidden_from)).nonzero(as_tuple=True)
    forbid(b, measure_rows(b).mean_R, rows_P, torch.tensor(found.forbidden_ids)[entries_P])
    curves, _ = label_curves(b, r)
    assert words(curves.labels(5.0).tolist()) == [" saw", " Tom", ".", " saw", " Mystic", " and"]
    assert words(curves.labels(0.0).tolist()) == [" met", " Tom", ".", " saw", " Mystic", " and"]
    assert generic_logits(b, r, 5.0).argmax(-1).tolist() == curves.labels(5.0).tolist()
