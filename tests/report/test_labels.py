"""Label statistics against counting in plain Python."""

from collections import Counter
from pathlib import Path

import pytest

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.reader import Row, reader, spread
from storage.workspace import Workspace
from tasks.drawing.texts import folded
from tasks.report.evidence import ReportInputs
from tasks.report.labels import label_facts
from tasks.report.words import beside, marked

BLOCKS = 30


@pytest.fixture
def facts(made_up_run: tuple[Workspace, ReportInputs]) -> Row:
    workspace, made = made_up_run
    blocks, logits, labels = (workspace.path(artifact) for artifact in (made.blocks, made.logits, made.labels))
    with reader() as connection:
        return label_facts(connection, blocks, logits, labels, 5.0)


def test_labels_that_differ_from_the_text_are_counted(facts: Row) -> None:
    # Of 8 labels a block, those of mage, Zarnok and Ombria are other tokens at alpha = 5.
    assert (facts["labels"], facts["differ"]) == (8 * BLOCKS, 3 * BLOCKS)
    by_alpha = {row["alpha"]: row["differ"] for row in facts["differ_by_alpha"]}
    assert (by_alpha[0.0], by_alpha[1.0], by_alpha[2.0]) == (2 * BLOCKS, 2 * BLOCKS, 3 * BLOCKS)
    agree = {row["alpha"]: row["agree"] for row in facts["agreement"]}
    assert (agree[1.0], agree[2.0], agree[50.0]) == (7 * BLOCKS, 8 * BLOCKS, 8 * BLOCKS)


def test_vertices_are_counted_by_position(facts: Row) -> None:
    assert {row["vertices"]: row["positions"] for row in facts["vertices"]} == {1: 7 * BLOCKS, 2: BLOCKS}


def test_moved_tokens_are_those_that_only_one_side_has(facts: Row) -> None:
    away = {row["token"]: (row["in_text"], row["as_label"]) for row in facts["away"]}
    towards = Counter({row["token"]: row["as_label"] for row in facts["towards"]})
    assert away == dict.fromkeys((2, 3, 7), (BLOCKS, 0))  # mage, Zarnok, Ombria
    assert towards == dict.fromkeys((4, 8, 13), BLOCKS)  # Jon, Hilltown, gardener
    assert facts["away"][0]["instead"][0]["n"] == BLOCKS
    assert facts["away"][0]["before"] == pytest.approx(2.718281828 ** (1 - 3))


def test_many_shards_are_sampled_evenly(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = [tmp_path / f"logits-{n}.parquet" for n in range(10)]
    for shard in shards:
        pq.write_table(pa.table({"x": [1] * 100}), shard)
    assert spread(shards, 1_000) == [str(shard) for shard in shards]
    assert spread(shards, 300) == [str(shards[n]) for n in (0, 3, 6)]
    assert spread(shards, 1) == [str(shards[0])]


def test_a_passage_and_its_translation_are_marked_in_step() -> None:
    words = Dictionary.from_mapping({"Emerald City": "Silver Town", "Oz": "Land"})
    drawn = {"Emerald City": "Silver Town", "Oz": "Land"}
    left, right = beside(words, "To the Emerald City of Oz.", "To the Silver Town of Land.", drawn)
    assert [text for text, mark in left if mark == "anchor"] == ["Emerald City", "Oz"]
    assert [text for text, mark in right if mark == "translation"] == ["Silver Town", "Land"]
    assert "".join(text for text, _ in right) == "To the Silver Town of Land."


def test_a_translation_that_cannot_be_followed_is_shown_unmarked() -> None:
    words = Dictionary.from_mapping({"Oz": "Land"})
    left, right = beside(words, "Caf\u00e9 in Oz.", "Cafe in Land.", {"Oz": "Land"})
    assert (left, right) == ([("Caf\u00e9 in Oz.", "")], [("Cafe in Land.", "")])


def test_anchors_in_a_completion_are_marked_and_nothing_is_lost() -> None:
    pieces = marked(Matcher(Dictionary.from_mapping({"Oz": "Land"})), "<b>Oz</b> and Ozma")
    assert pieces == [("<b>", ""), ("Oz", "anchor"), ("</b> and Ozma", "")]


def test_line_breaks_inside_a_paragraph_are_folded() -> None:
    assert folded("one\ntwo\n\nthree\n\n\n\nfour") == "one two\n\nthree\n\nfour"
