"""What a student may learn from besides hard labels of the target: soft ones, text to retain, reinforced weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from storage.artifact import Artifact
from storage.files import Hashes
from storage.shards import read_shard, write_shard
from storage.workspace import Workspace
from tasks.contents import RETAINED
from tasks.engine.stage import Context, Placement
from tasks.method.loss import hard_label_loss, hardening_of, moved, soft_label_loss
from tasks.method.null_space import input_moments, linear_layers, principal_directions, weight_of
from tasks.method.projection import finished
from tasks.models import find_model, load_model, load_tokenizer
from tasks.retained import retained
from tasks.training import head
from tasks.training.examples import Examples, Retained, collate, unshifted
from tasks.training.ranks import train
from tasks.training.settings import Hardening, KeptText, Schedule, StudentSettings, Training, TrainingSpec

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
    logits = torch.randn(*hard["input_ids"].shape, 300, generator=torch.Generator().manual_seed(0))
    count = (hard["labels"] != -100).sum()
    expected = hard_label_loss(logits, unshifted(hard["labels"]), count)
    found = soft_label_loss(logits, soft["candidates"], soft["shares"], count)
    assert torch.equal(hard["labels"], soft["labels"])
    assert found == pytest.approx(expected.item())


def test_a_soft_label_is_the_mean_of_its_candidates_losses(tmp_path: Path) -> None:
    rows = hard_rows(4)
    soft = batch_of(tmp_path / "soft.arrow", softened(rows, 0.25))
    others = [row | {"labels": [7 if label != -100 else -100 for label in row["labels"]]} for row in rows]
    first, second = batch_of(tmp_path / "first.arrow", rows), batch_of(tmp_path / "second.arrow", others)
    logits = torch.randn(*soft["input_ids"].shape, 300, generator=torch.Generator().manual_seed(0))
    count = (first["labels"] != -100).sum()
    one, other = (hard_label_loss(logits, unshifted(batch["labels"]), count) for batch in (first, second))
    found = soft_label_loss(logits, soft["candidates"], soft["shares"], count)
    assert found == pytest.approx((0.25 * one + 0.75 * other).item())


def test_every_batch_holds_the_target_and_the_retained_text_in_their_shares(tmp_path: Path) -> None:
    target, other = write(tmp_path / "target.arrow", hard_rows(5)), write(tmp_path / "other.arrow", hard_rows(7, 200))
    examples = Examples(target, 24, 0, Retained((other,), batch=6, blocks=2))
    from_other = [bool((examples[draw]["input_ids"] >= 200).all()) for draw in range(24)]
    assert from_other == 4 * [False, False, False, False, True, True]
    drawn = {tuple(examples[draw]["input_ids"]) for draw in range(24)}
    assert len(drawn) == 5 + 7  # 16 draws see all 5 blocks of the target, 8 draws all 7 others
    assert examples.tokens(0, 24) == sum(len(examples[draw]["input_ids"]) for draw in range(24))


def test_several_retained_files_take_turns_whatever_their_length(tmp_path: Path) -> None:
    target = write(tmp_path / "target.arrow", hard_rows(5))
    others = write(tmp_path / "long.arrow", hard_rows(30, 200)), write(tmp_path / "short.arrow", hard_rows(3, 100))
    examples = Examples(target, 24, 0, Retained(others, batch=6, blocks=3))
    first_ids = [int(examples[draw]["input_ids"].min()) // 50 for draw in range(24)]
    assert [first_ids[draw] for draw in range(24) if draw % 6 > 2] == 6 * [4, 2]
    alone = Examples(target, 24, 0, Retained(others[:1], batch=6, blocks=3))
    assert [alone[draw]["input_ids"].tolist() for draw in (0, 1, 2)] == [
        examples[draw]["input_ids"].tolist() for draw in (0, 1, 2)
    ]


def test_without_retained_text_the_order_is_what_it_was(tmp_path: Path) -> None:
    target, other = write(tmp_path / "target.arrow", hard_rows(5)), write(tmp_path / "other.arrow", hard_rows(7, 200))
    alone, both = Examples(target, 8, 0), Examples(target, 16, 0, Retained((other,), batch=4, blocks=2))
    mine = [both[draw]["input_ids"].tolist() for draw in range(16) if draw % 4 < 2]
    assert mine == [alone[draw]["input_ids"].tolist() for draw in range(8)]


@pytest.fixture
def losses(tmp_path: Path, tiny_model: Path) -> Callable[..., list[float]]:
    """Train the tiny model; the loss of every step."""

    def learn(
        data: Path,
        retained: Retained | None = None,
        micro: int = 8,
        hardening: Hardening | None = None,
        start: Path = tiny_model,
        how: dict[str, Any] | None = None,
        kept_text: KeptText | None = None,
        **ranks: Any,
    ) -> list[float]:
        baseline = find_model(start, Hashes(tmp_path / "hashes.json"))
        workspace = Workspace(
            tmp_path / f"{data.stem}-{micro}-{retained is None}-{hardening is None}-{start.name}-{how}-{len(ranks)}"
        )
        made = Artifact("student", "s", "00000000")
        context = Context(workspace.resume(made), workspace, made, Placement(device="cpu", micro_batch=micro, **ranks))
        settings = Training(**{"learning_rate": 1e-2, "batch": 4, "precision": "float32"} | (how or {}))
        schedule = Schedule(4, {4: "last"})
        history = train(TrainingSpec(context, baseline, data, settings, schedule, retained, hardening, kept_text))
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
    other = Retained((write(tmp_path / "other.arrow", hard_rows(6, 200)),), batch=4, blocks=1)
    assert losses(target, other, micro=1) == pytest.approx(losses(target, other, micro=4), rel=1e-4)


def test_moved_weights_are_the_reinforced_ones_and_come_back_to_the_last_bit(tiny_model: Path, elsewhere: Path) -> None:
    model, other = load_model(tiny_model), load_model(elsewhere)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with moved(list(hardening_of(model, other, 1.0))):
        for here, there in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.allclose(here, there, atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
def test_a_hardened_student_learns_at_both_places(
    tmp_path: Path, elsewhere: Path, losses: Callable[..., list[float]]
) -> None:
    data = write(tmp_path / "hard.arrow", hard_rows(6))
    reinforced = find_model(elsewhere, Hashes(tmp_path / "hashes.json"))
    here, there = losses(data), losses(data, start=elsewhere)
    both = losses(data, hardening=Hardening(reinforced, 1.0))
    assert here[0] != pytest.approx(there[0], rel=1e-3)
    assert both[0] == pytest.approx((here[0] + there[0]) / 2, rel=1e-5)
    assert both[-1] < both[0]
    assert losses(data, micro=1, hardening=Hardening(reinforced, 1.0)) == pytest.approx(both, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["replicated, out of what kept text uses", "sharded"])
def test_ranks_learn_what_one_process_learns(
    tmp_path: Path, elsewhere: Path, losses: Callable[..., list[float]], sharded: bool
) -> None:
    target = write(tmp_path / "soft.arrow", softened(hard_rows(6), 0.5))
    other = Retained((write(tmp_path / "other.arrow", hard_rows(6, 200)),), batch=4, blocks=1)
    harder = Hardening(find_model(elsewhere, Hashes(tmp_path / "hashes.json")), 1.0)
    kept_text = None if sharded else KeptText(write(tmp_path / "kept.arrow", hard_rows(6, 200)), 0.5)
    expected = losses(target, other, hardening=harder, kept_text=kept_text)
    ranks = losses(target, other, micro=1, hardening=harder, kept_text=kept_text, ranks=2, sharded=sharded)
    assert ranks == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_a_student_stays_out_of_what_kept_text_uses(
    tmp_path: Path, tiny_model: Path, losses: Callable[..., list[float]]
) -> None:
    target, other = write(tmp_path / "hard.arrow", hard_rows(6)), write(tmp_path / "other.arrow", hard_rows(6, 200))
    learned = losses(target, micro=1, kept_text=KeptText(other, 0.5))
    assert learned[-1] < learned[0]
    (student,) = tmp_path.glob("hard-*/**/steps/last")
    baseline, changed = load_model(tiny_model), linear_layers(load_model(student))
    layers, texts = linear_layers(baseline), [torch.tensor([row["input_ids"]]) for row in hard_rows(6, 200)]
    for name, moment in input_moments(baseline, layers, texts).items():
        change = weight_of(changed[name]) - weight_of(layers[name])
        assert (change @ principal_directions(moment, 0.5)).norm() < 1e-3 * change.norm()


@pytest.mark.slow
def test_adapters_harden_and_retain(tmp_path: Path, elsewhere: Path, losses: Callable[..., list[float]]) -> None:
    pytest.importorskip("peft")
    target = write(tmp_path / "soft.arrow", softened(hard_rows(6), 0.5))
    other = Retained((write(tmp_path / "other.arrow", hard_rows(6, 200)),), batch=4, blocks=1)
    harder = Hardening(find_model(elsewhere, Hashes(tmp_path / "hashes.json")), 1.0)
    whole, factors = (losses(target, other, hardening=harder, how={"lora": rank}) for rank in (0, 4))
    assert factors[0] == pytest.approx(whole[0], rel=1e-5)  # at first the factors' product is nothing
    assert factors[-1] < factors[0] - 0.05


@pytest.mark.slow
def test_a_hardened_student_with_split_weights_learns_what_one_in_float32_does(
    tmp_path: Path, elsewhere: Path, losses: Callable[..., list[float]]
) -> None:
    target = write(tmp_path / "soft.arrow", softened(hard_rows(6), 0.5))
    other = Retained((write(tmp_path / "other.arrow", hard_rows(6, 200)),), batch=4, blocks=1)
    harder = Hardening(find_model(elsewhere, Hashes(tmp_path / "hashes.json")), 1.0)
    how = {"precision": "bfloat16"}
    expected = losses(target, other, hardening=harder, how=how)
    assert expected[-1] < expected[0] - 0.1
    assert losses(target, other, hardening=harder, how=how | {"memory": "split"}) == pytest.approx(expected, rel=1e-2)


def test_retained_blocks_are_labelled_with_their_own_next_tokens(tmp_path: Path, tiny_model: Path) -> None:
    text = tmp_path / "kept.txt"
    text.write_text("The old baker closed his door. " * 20)
    hashes = Hashes(tmp_path / "hashes.json")
    tokenizer, files = find_model(tiny_model, hashes).tokenizer, hashes.files([text])
    workspace = Workspace(tmp_path / "ws")
    inputs = retained.inputs(files, "text", tokenizer, 16)
    made = retained.artifact("kept", inputs)
    context = Context(workspace.resume(made), workspace, made, Placement(device="cpu"))
    counts = retained.body(context, **inputs)
    rows = read_shard(context.folder / RETAINED).to_pylist()
    whole = load_tokenizer(tokenizer)(text.read_text().strip())["input_ids"]
    assert rows[0]["input_ids"] == whole[:16]
    assert all(row["labels"] == [*row["input_ids"][1:], -100] for row in rows)
    assert counts == {"texts": 1, "blocks": len(rows), "tokens": sum(len(row["input_ids"]) for row in rows)}


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_share_that_leaves_nothing_of_one_kind_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="some of both"):
        StudentSettings(batch=8, retain=share)
    assert StudentSettings(batch=8, retain=0.25).retained == 2


@pytest.mark.parametrize("how", [{"retain": 0}, {"lora": 4}, {"memory": "split"}])
def test_null_space_wants_retained_text_and_whole_weights(how: dict[str, Any]) -> None:
    good = {"batch": 8, "retain": 0.5, "null_space": 0.5}
    assert not StudentSettings(**good).divisible
    with pytest.raises(ValidationError, match="expected retain, memory"):
        StudentSettings(**good | how)


HEAD = {"soft_cap": {"final_logit_softcapping": 5.0}, "scale": {"logit_scale": 0.5}, "plain": {}}


@pytest.mark.parametrize("finish", HEAD.values(), ids=HEAD)
def test_a_head_makes_the_loss_in_chunks_that_its_logits_would_have_given(
    tmp_path: Path, tiny_model: Path, finish: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(tiny_model)
    vars(model.config).update(finish)
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", 7 * model.config.vocab_size)
    batch = batch_of(tmp_path / "soft.arrow", softened(hard_rows(4), 0.25))
    count, targets = (batch["labels"] != -100).sum(), [batch["candidates"], batch["shares"]]
    soft_loss = partial(soft_label_loss, count=count)
    whole = soft_loss(finished(model(batch["input_ids"]).logits, model.config), *targets)
    expected = torch.autograd.grad(whole, list(model.parameters()))
    with head.loss_in_head(model, batch["shares"].sum(2) > 0, targets, soft_loss) as losses:
        model(batch["input_ids"])
    gradients = torch.autograd.grad(losses[0], list(model.parameters()))
    assert losses[0].item() == pytest.approx(whole.item(), rel=1e-6)
    for gradient, right in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-4, atol=1e-6)


def test_a_head_never_holds_more_logits_than_a_chunk(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = load_model(tiny_model), []
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", 7 * model.config.vocab_size)
    monkeypatch.setattr(head, "finished", lambda logits, config: rows.append(len(logits)) or finished(logits, config))
    batch = batch_of(tmp_path / "hard.arrow", hard_rows(4))
    labels = unshifted(batch["labels"])
    loss_of = partial(hard_label_loss, count=torch.tensor(1))
    with head.loss_in_head(model, labels != -100, [labels], loss_of):
        model(batch["input_ids"])
    assert max(rows) == 7
    assert sum(rows) == (labels != -100).sum()


def test_a_model_whose_logits_are_not_its_heads_is_not_separable(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    assert head.separable(model)
    model.config.logit_scale = 0.5  # which a Llama knows nothing of
    assert not head.separable(model)
