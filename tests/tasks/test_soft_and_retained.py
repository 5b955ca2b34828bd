"""What a student may read besides hard labels of the target: labels as distributions, and text to retain."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from storage.artifact import Artifact
from storage.files import Hashes
from storage.tables import read_shard, write_shard
from storage.workspace import Workspace
from tasks.examples import Examples, Retained, collate
from tasks.models import find_model, load_tokenizer
from tasks.retained import RETAINED, retained
from tasks.settings import Training
from tasks.stage import Placement, Work
from tasks.student import StudentSettings
from tasks.training import Course, mean_over_labels, mean_over_soft_labels, train

Rows = list[dict[str, Any]]


def hard_rows(blocks: int, first: int = 2, seed: int = 0) -> Rows:
    """Blocks of tokens from `first` on, every third position without a label."""
    chance = np.random.default_rng(seed)
    rows = []
    for length in chance.integers(6, 12, blocks):
        labels = np.where(np.arange(length) % 3 == 2, -100, chance.integers(2, 300, length))
        labels[-1] = -100
        rows.append({"input_ids": chance.integers(first, first + 50, length).tolist(), "labels": labels.tolist()})
    return rows


def softened(rows: Rows, share: float) -> Rows:
    """The same with two candidates: the label, and token 7 with the rest."""
    whole = []
    for row in rows:
        there = np.array(row["labels"]) != -100
        candidates = np.stack([np.where(there, row["labels"], 0), np.full(len(there), 7)], 1)
        shares = np.stack([share * there, (1 - share) * there], 1).astype(np.float32)
        whole.append(row | {"candidates": candidates.reshape(-1).tolist(), "shares": shares.reshape(-1).tolist()})
    return whole


def write(path: Path, rows: Rows) -> Path:
    kinds = {"input_ids": pa.int32(), "labels": pa.int32(), "candidates": pa.int32(), "shares": pa.float32()}
    fields = [(name, pa.list_(kinds[name])) for name in rows[0]]
    write_shard(path, pa.Table.from_pylist(rows, pa.schema(fields)))
    return path


def batch_of(path: Path, rows: Rows) -> dict[str, torch.Tensor]:
    examples = Examples(write(path, rows), len(rows), 0)
    return collate([examples[draw] for draw in range(len(rows))])


def test_a_point_mass_costs_what_the_hard_label_costs(tmp_path: Path) -> None:
    hard = batch_of(tmp_path / "hard.arrow", hard_rows(4))
    soft = batch_of(tmp_path / "soft.arrow", softened(hard_rows(4), 1.0))
    outputs = {"logits": torch.randn(*hard["input_ids"].shape, 300, generator=torch.Generator().manual_seed(0))}
    count = (hard["labels"] != -100).sum()
    expected = mean_over_labels(outputs, hard["labels"], count)
    found = mean_over_soft_labels(outputs, soft["labels"], count, soft["candidates"], soft["shares"])
    assert torch.equal(hard["labels"], soft["labels"])
    assert found == pytest.approx(expected.item())


def test_a_soft_label_is_the_mean_of_its_candidates_losses(tmp_path: Path) -> None:
    rows = hard_rows(4)
    soft = batch_of(tmp_path / "soft.arrow", softened(rows, 0.25))
    others = [row | {"labels": [7 if label != -100 else -100 for label in row["labels"]]} for row in rows]
    first, second = batch_of(tmp_path / "first.arrow", rows), batch_of(tmp_path / "second.arrow", others)
    outputs = {"logits": torch.randn(*soft["input_ids"].shape, 300, generator=torch.Generator().manual_seed(0))}
    count = (first["labels"] != -100).sum()
    one, other = (mean_over_labels(outputs, batch["labels"], count) for batch in (first, second))
    found = mean_over_soft_labels(outputs, soft["labels"], count, soft["candidates"], soft["shares"])
    assert found == pytest.approx((0.25 * one + 0.75 * other).item())


def test_every_batch_holds_the_target_and_the_retained_text_in_their_shares(tmp_path: Path) -> None:
    target, other = write(tmp_path / "target.arrow", hard_rows(5)), write(tmp_path / "other.arrow", hard_rows(7, 200))
    examples = Examples(target, 24, 0, Retained(other, batch=6, blocks=2))
    from_other = [bool((examples[draw]["input_ids"] >= 200).all()) for draw in range(24)]
    assert from_other == 4 * [False, False, False, False, True, True]
    drawn = {tuple(examples[draw]["input_ids"]) for draw in range(24)}
    assert len(drawn) == 5 + 7  # 16 draws see all 5 blocks of the target, 8 draws all 7 others
    assert examples.tokens(0, 24) == sum(len(examples[draw]["input_ids"]) for draw in range(24))


def test_without_retained_text_the_order_is_what_it_was(tmp_path: Path) -> None:
    target, other = write(tmp_path / "target.arrow", hard_rows(5)), write(tmp_path / "other.arrow", hard_rows(7, 200))
    alone, both = Examples(target, 8, 0), Examples(target, 16, 0, Retained(other, batch=4, blocks=2))
    mine = [both[draw]["input_ids"].tolist() for draw in range(16) if draw % 4 < 2]
    assert mine == [alone[draw]["input_ids"].tolist() for draw in range(8)]


@pytest.fixture
def losses(tmp_path: Path, tiny_model: Path) -> Callable[..., list[float]]:
    """Train the tiny model; the loss of every step."""
    baseline = find_model(tiny_model, Hashes(tmp_path / "hashes.json"))

    def learn(data: Path, retained: Retained | None = None, micro: int = 8) -> list[float]:
        workspace = Workspace(tmp_path / f"{data.stem}-{micro}-{retained is None}")
        made = Artifact("student", "s", "00000000")
        work = Work(workspace.resume(made), workspace, made, Placement(device="cpu", micro_batch=micro))
        settings = Training(learning_rate=1e-2, batch=4, precision="float32")
        history = train(work, baseline, data, settings, Course(4, {4: "last"}), retained)
        return [entry["loss"] for entry in history if "loss" in entry]

    return learn


@pytest.mark.slow
def test_soft_labels_of_a_point_mass_train_as_hard_ones(tmp_path: Path, losses: Callable[..., list[float]]) -> None:
    hard, soft = (
        losses(write(tmp_path / "hard.arrow", hard_rows(6))),
        losses(write(tmp_path / "soft.arrow", softened(hard_rows(6), 1.0))),
    )
    assert soft == pytest.approx(hard, rel=1e-4)


@pytest.mark.slow
def test_the_split_of_a_batch_of_both_is_no_meaning(tmp_path: Path, losses: Callable[..., list[float]]) -> None:
    """Portions with soft labels and portions of retained text, whose labels are hard, in one batch."""
    target = write(tmp_path / "soft.arrow", softened(hard_rows(6), 0.5))
    other = Retained(write(tmp_path / "other.arrow", hard_rows(6, 200)), batch=4, blocks=1)
    assert losses(target, other, micro=1) == pytest.approx(losses(target, other, micro=4), rel=1e-4)


def test_retained_blocks_are_labelled_with_their_own_next_tokens(tmp_path: Path, tiny_model: Path) -> None:
    text = tmp_path / "kept.txt"
    text.write_text("The old baker closed his door. " * 20)
    hashes = Hashes(tmp_path / "hashes.json")
    tokenizer, files = find_model(tiny_model, hashes).tokenizer, hashes.files([text])
    workspace = Workspace(tmp_path / "ws")
    inputs = retained.inputs(files, "text", tokenizer, 16)
    made = retained.artifact("kept", inputs)
    work = Work(workspace.resume(made), workspace, made, Placement(device="cpu"))
    counts = retained.body(work, **inputs)
    rows = read_shard(work.folder / RETAINED).to_pylist()
    whole = load_tokenizer(tokenizer)(text.read_text().strip())["input_ids"]
    assert rows[0]["input_ids"] == whole[:16]
    assert all(row["labels"] == [*row["input_ids"][1:], -100] for row in rows)
    assert counts == {"texts": 1, "blocks": len(rows), "tokens": sum(len(row["input_ids"]) for row in rows)}


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_share_that_leaves_nothing_of_one_kind_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="some of both"):
        StudentSettings(batch=8, retain=share)
    assert StudentSettings(batch=8, retain=0.25).retained == 2
