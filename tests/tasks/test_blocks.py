"""blocks made shard by shard, by one worker or by many."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import tasks.blocks
from dictionaries.dictionary import Dictionary
from flows.inputs import resolve
from flows.job import read_job
from storage.shards import join_shards, read_shard, write_shard
from tasks.blocks import BlockSettings, Translation, blocks, stretches_of
from tasks.contents import BLOCKS
from tasks.corpus import corpus
from tasks.dictionary import dictionary
from tasks.engine.call import StageCall, make
from tasks.engine.runner import Direct

Made = Callable[..., tuple[Direct, Any]]
DOCUMENTS = 12


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.blocks, "CHARACTERS_A_SHARD", 800)


@pytest.fixture
def to_blocks(make_job: Callable[..., Path], direct_run: Callable[..., Direct]) -> Made:
    """A run, and the call that makes its blocks."""
    path = make_job(documents=DOCUMENTS)

    def go(root: Path, **placement: Any) -> tuple[Direct, StageCall]:
        run, job = direct_run(root, **placement), read_job(path, [])
        given = resolve(job, run.workspace.hashes)
        texts = run(corpus, given.corpus, job.corpus.text_column)
        words = run(dictionary, texts, given.dictionary)
        inputs = blocks.inputs(texts, words, given.baseline.tokenizer, job.blocks)
        artifact = blocks.artifact("some", inputs)
        return run, StageCall(blocks, artifact, inputs, run.workspace.address, job.placement)

    return go


def bytes_of(call: StageCall) -> bytes:
    return (call.workspace.path(call.artifact) / BLOCKS).read_bytes()


def test_parts_by_many_workers_are_the_bytes_of_one(to_blocks: Made, tmp_path: Path) -> None:
    (_, alone), (_, shared) = to_blocks(tmp_path / "alone"), to_blocks(tmp_path / "shared")
    make(alone)
    for number in (2, 0, 1):
        make(replace(shared, part=(number, 3)))
    shards = [path.name for path in shared.workspace.partial(shared.artifact).glob("part-*")]
    assert len(shards) > 3
    make(shared)
    assert shared.artifact == alone.artifact
    assert bytes_of(shared) == bytes_of(alone)
    records = [call.workspace.record(call.artifact) for call in (alone, shared)]
    assert records[0]["counts"] == records[1]["counts"]
    assert set(records[1]["files"]) == {BLOCKS}  # the shards went
    numbers = read_shard(alone.workspace.path(alone.artifact) / BLOCKS).column("block_id").to_pylist()
    assert numbers == list(range(records[0]["counts"]["blocks"]))


def test_a_killed_stage_goes_on_with_the_next_shard(
    to_blocks: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, whole), (_, killed) = to_blocks(tmp_path / "whole"), to_blocks(tmp_path / "killed")
    make(whole)
    translated: list[int] = []
    rows = Translation.rows

    def dies_in_the_third(self: Translation, texts: list[str], answers: Any, first: int = 0) -> Any:
        translated.append(first)
        if len(translated) == 3:
            raise KeyboardInterrupt
        return rows(self, texts, answers, first)

    monkeypatch.setattr(Translation, "rows", dies_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        make(killed)
    before = translated.copy()
    make(killed)
    assert before[2] == translated[3]
    assert not set(before[:2]) & set(translated[3:])
    assert bytes_of(killed) == bytes_of(whole)


@pytest.mark.parametrize("unlinked", [False, True])
def test_a_stage_killed_after_joining_translates_nothing_again(
    to_blocks: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlinked: bool
) -> None:
    _, call = to_blocks(tmp_path / "ws")
    counts, counted = tasks.blocks.counts_of, []

    def dies_first(table: Any) -> Any:
        counted.append(table)
        if len(counted) == 1:
            raise KeyboardInterrupt
        return counts(table)

    monkeypatch.setattr(tasks.blocks, "counts_of", dies_first)
    with pytest.raises(KeyboardInterrupt):
        make(call)
    folder = call.workspace.partial(call.artifact)
    if not unlinked:  # it died a little earlier
        (folder / f"part-{0:08d}-{1:08d}.arrow").write_bytes((folder / BLOCKS).read_bytes())
    monkeypatch.delattr(Translation, "rows")
    make(replace(call, part=(1, 2)))
    make(call)
    assert set(call.workspace.record(call.artifact)["files"]) == {BLOCKS}


@pytest.mark.slow
def test_workers_make_the_shards_of_blocks(to_blocks: Made, tmp_path: Path) -> None:
    """Parts only for those who have a shard to make."""
    run, call = to_blocks(tmp_path / "ws", workers=100)
    shards = blocks.shards and blocks.shards(run.workspace, **call.inputs)
    assert shards
    assert 3 < shards <= DOCUMENTS
    parts: list[tuple[int, int]] = []
    run._spread = lambda calls: parts.extend(part.part for part in calls)  # type: ignore[method-assign]
    run(blocks, **call.inputs)
    assert parts == [(number, shards) for number in range(shards)]


def test_a_block_depends_on_its_own_document_alone(tiny_model: Path) -> None:
    words, tokenizer = Dictionary.from_mapping({"Mira": ["Anna", "Clara"]}), AutoTokenizer.from_pretrained(tiny_model)
    texts = ["Mira went home. " * 20, "Nobody went home. " * 20, "Mira and Mira. " * 20]
    translation = Translation(words, tokenizer, BlockSettings(length=16))
    together = list(translation.rows(texts, [None] * 3))
    last = list(translation.rows(texts[2:], [None], 2))
    assert last == [row for row in together if row["document_id"] == 2]
    drawn = [name for row in together for name in row["translations"]]
    assert set(drawn) == {"Anna", "Clara"}  # by block
    for row in together:
        assert len(set(row["translations"])) <= 1


@pytest.mark.parametrize(
    ("lengths", "stretches"),
    [
        ([], []),
        ([5], [(0, 1)]),
        ([0, 0], [(0, 2)]),
        ([400, 400, 1], [(0, 2), (2, 3)]),
        ([10_000, 1, 799, 1], [(0, 1), (1, 3), (3, 4)]),
        ([1, 10_000, 1], [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_shards_hold_whole_documents(lengths: list[int], stretches: list[tuple[int, int]]) -> None:
    assert list(stretches_of(lengths)) == stretches


def test_joined_shards_are_numbered_through(tmp_path: Path) -> None:
    empty = {"original_ids": [], "translated_ids": [], "mapping": [], "reasons": [], "forbidden_ids": []}
    row = empty | {"forbidden_from": [], "anchors": [], "anchor_positions": [], "translations": [], "block_id": 0}
    sizes, parts = (300, 0, 2), []
    for number, size in enumerate(sizes):
        parts.append(tmp_path / f"blocks-{number}.arrow")
        write_shard(parts[-1], [row | {"document_id": number}] * size)
    join_shards(tmp_path / BLOCKS, parts, "block_id")
    joined = read_shard(tmp_path / BLOCKS)
    assert joined.column("block_id").to_pylist() == list(range(302))
    assert joined.column("document_id").to_pylist() == [0] * 300 + [2] * 2
