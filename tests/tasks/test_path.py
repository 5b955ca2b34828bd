"""The stages of the path on a tiny model: what they write, what they keep, what they go on from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flows.inputs import Inputs, resolve
from flows.job import Job, read_job
from storage.artifact import Artifact
from storage.errors import BadInput, TrainingDiverged
from storage.shards import read_shard
from storage.tables import open_tables, sync
from tasks import labels as labels_stage
from tasks import logits as logits_stage
from tasks.blocks import blocks
from tasks.contents import LAST, NO_LABEL, UPDATES, read_json, step_folder
from tasks.corpus import corpus
from tasks.dictionary import DictionarySettings, dictionary, find_words
from tasks.engine.runner import Run
from tasks.labels import LabelSettings, labels
from tasks.logits import logits
from tasks.method.equation import generic_logits
from tasks.models import load_model, made_model
from tasks.reinforce import reinforce
from tasks.student import student
from tasks.training.settings import ReinforceSettings, StudentSettings

Steps = tuple[Job, Inputs, Run, dict[str, Artifact]]


@pytest.fixture
def to_labels(make_job: Callable[..., Path], direct_run: Callable[..., Run]) -> Callable[..., Steps]:
    """The path up to the labels; keywords are settings of the job."""

    def go(root: Path | None = None, changes: list[str] | None = None, **placement: Any) -> Steps:
        run = direct_run(root, **placement)
        job = read_job(make_job(), changes or [])
        given = resolve(job, run.workspace.hashes)
        made = {"corpus": run(corpus, given.corpus, job.corpus.text_column)}
        made["dictionary"] = run(dictionary, made["corpus"], given.dictionary)
        made["blocks"] = run(blocks, made["corpus"], made["dictionary"], given.baseline.tokenizer, job.blocks)
        made["reinforce"] = run(reinforce, made["corpus"], given.baseline, job.reinforce)
        reinforced_model = made_model(run.workspace, made["reinforce"], LAST, given.baseline.tokenizer)
        made["logits"] = run(logits, made["blocks"], given.baseline, reinforced_model, job.logits.on(job.placement))
        made["labels"] = run(labels, made["blocks"], made["logits"], job.labels)
        return job, given, run, made

    return go


def labels_of(run: Run, made: dict[str, Artifact]) -> list[list[int]]:
    return read_shard(run.workspace.path(made["labels"]) / "training.arrow").column("labels").to_pylist()


def test_labels_are_the_dense_argmax_of_equation_1_on_the_models_own_logits(to_labels: Callable[..., Steps]) -> None:
    """Every position, every alpha, against whole rows of both models, forbidden tokens and padding ids included."""
    _, given, run, made = to_labels()
    table = read_shard(run.workspace.path(made["blocks"]) / "blocks.arrow").to_pylist()
    baseline = load_model(given.baseline.path)
    reinforced = load_model(run.workspace.path(made["reinforce"]) / LAST)
    tokens = len(json.loads(Path(given.baseline.tokenizer.paths[0]).read_text())["model"]["vocab"])
    with open_tables(run.workspace, write=True) as tables:
        sync(tables, run.workspace)
        for alpha in (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0):
            rows = tables.execute(
                f"SELECT block_id, position, label FROM labels({alpha}) WHERE reason IS NULL"
            ).fetchall()
            found = {(block, position): label for block, position, label in rows}
            expected = dense_labels(table, baseline, reinforced, tokens, alpha)
            assert found == expected
    assert len(expected) > 200


def dense_labels(
    table: list[dict[str, Any]], baseline: Any, reinforced: Any, tokens: int, alpha: float
) -> dict[tuple[int, int], int]:
    found = {}
    for block in table:
        with torch.no_grad():
            b_UV = baseline(torch.tensor([block["translated_ids"]])).logits[0, :, :tokens]
            r_TV = reinforced(torch.tensor([block["original_ids"]])).logits[0, :, :tokens]
        for row, mean in enumerate(b_UV.mean(1)):
            for token, start in zip(block["forbidden_ids"], block["forbidden_from"], strict=True):
                if row >= start:
                    b_UV[row, token] = mean
        for position, (place, reason) in enumerate(zip(block["mapping"], block["reasons"], strict=True)):
            if reason is None:
                label = generic_logits(b_UV[place][None], r_TV[position][None], alpha).argmax(-1)
                found[block["block_id"], position] = int(label)
    return found


def test_training_labels_are_the_macro_s_and_reasons_have_none(to_labels: Callable[..., Steps]) -> None:
    job, _, run, made = to_labels()
    with open_tables(run.workspace, write=True) as tables:
        sync(tables, run.workspace)
        rows = tables.execute(
            f"SELECT block_id, position, label, reason FROM labels({job.labels.alpha}) ORDER BY ALL"
        ).fetchall()
        assert rows == tables.execute("SELECT block_id, position, label, reason FROM labels ORDER BY ALL").fetchall()
    columns = labels_of(run, made)
    assert len(rows) == sum(map(len, columns))
    for block, position, label, reason in rows:
        assert (label is None) != (reason is None)
        assert columns[block][position] == (NO_LABEL if label is None else label)


@pytest.mark.parametrize("equation", ["logits", "log_probabilities"])
def test_soft_labels_are_equation_1_over_the_candidates(to_labels: Callable[..., Steps], equation: str) -> None:
    changes = ["labels.soft=0.5", "labels.alpha=2", f"logits.equation={equation}", "logits.top=400"]
    _, given, run, made = to_labels(changes=changes)
    table = read_shard(run.workspace.path(made["blocks"]) / "blocks.arrow").to_pylist()
    baseline, reinforced = (
        load_model(path) for path in (given.baseline.path, run.workspace.path(made["reinforce"]) / LAST)
    )
    tokens = len(json.loads(Path(given.baseline.tokenizer.paths[0]).read_text())["model"]["vocab"])
    rows = read_shard(run.workspace.path(made["labels"]) / "training.arrow").to_pylist()
    for block, row in zip(table, rows, strict=True):
        shape = (len(row["labels"]), -1)
        candidates, shares = (np.array(row[name]).reshape(shape) for name in ("candidates", "shares"))
        with torch.no_grad():
            b_UV = baseline(torch.tensor([block["translated_ids"]])).logits[0, :, :tokens]
            r_TV = reinforced(torch.tensor([block["original_ids"]])).logits[0, :, :tokens]
        for position, label in enumerate(row["labels"]):
            if label == NO_LABEL:
                assert not shares[position].any()
            elif block["mapping"][position] not in forbidden_at(block):
                b_V, r_V = b_UV[block["mapping"][position]], r_TV[position]
                if equation == "log_probabilities":
                    b_V, r_V = b_V.log_softmax(-1), r_V.log_softmax(-1)
                expected = 0.5 * (b_V - 2 * torch.relu(r_V - b_V)).softmax(-1).numpy()
                expected[label] += 0.5
                found = np.zeros(tokens)
                np.add.at(found, candidates[position], shares[position])
                np.testing.assert_allclose(found, expected, atol=1e-4)


def forbidden_at(block: dict[str, Any]) -> set[int]:
    """Rows of the translated block in which some token is forbidden."""
    first = min(block["forbidden_from"], default=len(block["translated_ids"]))
    return set(range(first, len(block["translated_ids"])))


@pytest.mark.slow
def test_micro_batch_changes_neither_address_nor_labels(to_labels: Callable[..., Steps], tmp_path: Path) -> None:
    _, _, one, first = to_labels(tmp_path / "one", micro_batch=1)
    _, _, many, second = to_labels(tmp_path / "many", micro_batch=4)
    assert first == second
    assert labels_of(one, first) == labels_of(many, second)


@pytest.mark.slow
def test_another_alpha_computes_no_logits_and_another_dictionary_no_reinforcement(
    to_labels: Callable[..., Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, _, first = to_labels()
    monkeypatch.setattr("tasks.models.load_model", refuse)
    monkeypatch.setattr(logits_stage, "load_model", refuse)
    _, _, _, second = to_labels(changes=["labels.alpha=2"])
    assert first["logits"] == second["logits"]
    assert first["labels"] != second["labels"]
    monkeypatch.undo()
    _, _, run, third = to_labels(changes=["blocks.seed=1"])
    assert first["blocks"] != third["blocks"]
    assert (third["reinforce"], True) in [(step.artifact, step.cached) for step in run.steps]


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("a model was loaded")


def test_labels_that_reinforcement_drowns_are_remarked_upon(
    to_labels: Callable[..., Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, run, made = to_labels(changes=["labels.alpha=50"])
    counts = run.workspace.record(made["labels"])["counts"]
    with open_tables(run.workspace, write=True) as tables:
        sync(tables, run.workspace)
        query = """SELECT count(*) FILTER (a.label <> b.label) FROM labels(0) a
                   JOIN labels(50) b USING (artifact, block_id, position) WHERE a.reason IS NULL"""
        assert tables.execute(query).fetchone() == (counts["other_than_the_baseline"],)
    share = counts["other_than_the_baseline"] / counts["labels"]
    assert 0 < share < 1
    for most, remarked in ((share - 0.01, True), (share, False)):
        monkeypatch.setattr(labels_stage, "MOST_MOVED", most)
        remark = labels_stage.remark_on(share, "logits")
        assert bool(remark) == remarked
    assert labels_stage.remark_on(0.0, "logits") == {}
    monkeypatch.undo()
    assert labels_stage.remark_on(0.96, "logits")["remark"].startswith("96% of the labels")
    assert "log_probabilities" in str(labels_stage.remark_on(0.96, "logits"))
    assert "log_probabilities" not in str(labels_stage.remark_on(0.96, "log_probabilities"))


@pytest.mark.slow
def test_logits_go_on_from_the_shards_of_a_killed_run(
    to_labels: Callable[..., Steps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, whole, expected = to_labels(tmp_path / "whole")
    written: list[int] = []
    real = logits_stage.write_rows

    def dies_at_the_second(context: Any, rows: Any, table: Any, first: int, end: int) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(first)
        real(context, rows, table, first, end)

    monkeypatch.setattr(logits_stage, "write_rows", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        to_labels(tmp_path / "killed")
    again: list[int] = []
    monkeypatch.setattr(logits_stage, "write_rows", lambda *args: (again.append(args[3]), real(*args)))
    _, _, run, made = to_labels(tmp_path / "killed")
    assert written == [0]
    assert 0 not in again
    assert again
    assert labels_of(run, made) == labels_of(whole, expected)
    with open_tables(run.workspace, write=True) as tables:
        twice = "SELECT count(*) - count(DISTINCT (block_id, position)) FROM logits"
        assert tables.execute(twice).fetchone() == (0,)


@pytest.mark.slow
def test_a_student_keeps_chosen_steps_and_learns_its_labels(to_labels: Callable[..., Steps]) -> None:
    _, given, run, made = to_labels()
    settings = StudentSettings(steps=30, keep=(10, 99), batch=4, learning_rate=1e-2, precision="float32")
    forgets = run(student, made["labels"], given.baseline, settings)
    folder = run.workspace.path(forgets)
    assert sorted(path.name for path in (folder / "steps").iterdir()) == ["000010", "000030"]
    assert not (folder / "checkpoints").exists()
    loss = read_shard(folder / "training_steps.parquet").column("loss").to_numpy()
    assert len(loss) == 30
    assert loss[-1] < 0.7 * loss[0]
    expected = labels_of(run, made)
    ids = read_shard(run.workspace.path(made["labels"]) / "training.arrow").column("input_ids").to_pylist()
    before, after = (agreement(path, ids, expected) for path in (given.baseline.path, folder / step_folder(30)))
    assert after > before + 0.2
    moved = read_json(folder / UPDATES)
    assert list(moved) == ["10", "30"]
    assert 0 < moved["10"]["distance"] < moved["30"]["distance"]


def agreement(path: Any, blocks_ids: list[list[int]], expected: list[list[int]]) -> float:
    """Share of labelled positions at which the model's most likely token is the UNSHIFTED label."""
    model, hits = load_model(path), []
    for ids, column in zip(blocks_ids, expected, strict=True):
        best = model(torch.tensor([ids])).logits[0].argmax(-1).numpy()
        hits += [best[t] == label for t, label in enumerate(column) if label != NO_LABEL]
    return float(np.mean(hits))


@pytest.mark.slow
def test_a_training_resumed_from_its_checkpoint_ends_where_an_undisturbed_one_does(
    to_labels: Callable[..., Steps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.training.trainer import TrainingCallback

    settings = StudentSettings(steps=6, keep=(2,), batch=4, learning_rate=1e-3)
    _, given, whole, made = to_labels(tmp_path / "whole")
    expected = weights_of(whole, whole(student, made["labels"], given.baseline, settings))
    _, given, killed, made = to_labels(tmp_path / "killed")
    real = TrainingCallback.on_step_end
    seen: list[int] = []

    def dies_after_step_3(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        real(self, args, state, control, **kwargs)
        seen.append(state.global_step)
        if len(seen) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingCallback, "on_step_end", dies_after_step_3)
    with pytest.raises(KeyboardInterrupt):
        killed(student, made["labels"], given.baseline, settings)
    resumed = weights_of(killed, killed(student, made["labels"], given.baseline, settings))
    assert seen == [1, 2, 3, 4, 4, 5, 6]
    for name, tensor in expected.items():
        assert torch.equal(resumed[name], tensor), name


def weights_of(run: Run, made: Artifact) -> dict[str, Any]:
    state: dict[str, Any] = load_model(run.workspace.path(made) / step_folder(6)).state_dict()
    return state


def test_a_loss_that_is_not_finite_stops_before_the_optimizer_step(
    make_job: Callable[..., Path], direct_run: Callable[..., Run]
) -> None:
    run, job = direct_run(), read_job(make_job(), [])
    given = resolve(job, run.workspace.hashes)
    texts = run(corpus, given.corpus, "text")
    settings = ReinforceSettings(length=64, batch=4, learning_rate=1e30, epochs=4, max_grad_norm=1e30)
    with pytest.raises(TrainingDiverged, match=r"step \d+ of \d+; no optimizer step was taken"):
        run(reinforce, texts, given.baseline, settings)
    assert not list(run.workspace.root.glob("reinforce/*/record.json"))


@pytest.mark.slow
def test_a_crashed_child_fails_its_stage_and_the_next_run_goes_on(
    to_labels: Callable[..., Steps], tmp_path: Path
) -> None:
    """The same labels from child processes as inline."""
    _, _, inline, first = to_labels(tmp_path / "inline")
    _, _, apart, second = to_labels(tmp_path / "apart", isolation="process")
    assert first == second
    assert labels_of(inline, first) == labels_of(apart, second)


def test_alpha_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LabelSettings(alpha=-1)


def test_a_dictionary_whose_anchors_never_occur_is_refused_and_leaves_nothing(
    make_job: Callable[..., Path], direct_run: Callable[..., Run], tmp_path: Path
) -> None:
    run, job = direct_run(), read_job(make_job(), [])
    given = resolve(job, run.workspace.hashes)
    (tmp_path / "other.json").write_text('{"Nowhere": "Somewhere"}')
    other = find_words(DictionarySettings(curated=(str(tmp_path / "other.json"),)), run.workspace.hashes)
    texts = run(corpus, given.corpus, "text")
    words = run(dictionary, texts, other)
    with pytest.raises(BadInput, match="found none of its 1"):
        run(blocks, texts, words, given.baseline.tokenizer, job.blocks)
    assert list(run.workspace.root.glob("blocks/*")) == []
