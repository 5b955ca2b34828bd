"""The control that never read the target: what it is trained on, and that a job can name it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows.gold import pipeline, resolve_gold
from flows.inputs import resolve
from flows.job import Job, read_job
from storage.errors import BadInput
from storage.files import Hashes
from storage.lineage import history
from tasks.contents import LAST
from tasks.engine.runner import Direct
from tasks.gold import fresh_model
from tasks.models import find_model, load_model


@pytest.fixture
def job(make_job: Callable[..., Path], tmp_path: Path) -> Job:
    kept = tmp_path / "kept.txt"
    kept.write_text("The old baker closed his door, and in the town the lamps were lit. " * 9)
    control = "control={epochs=4, batch=2, learning_rate=1e-2}"
    return read_job(make_job(), [f'retain.paths=["{kept}"]', "student.retain=0.5", control])


def test_fresh_weights_come_without_a_word(job: Job, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    logging.enable_progress_bar()
    fresh_model(tmp_path / "fresh", find_model(job.model, Hashes(tmp_path / "hashes.json")), 0)
    assert capfd.readouterr() == ("", "")


def test_a_control_learns_the_retained_text_and_never_meets_the_target(
    job: Job, direct_run: Callable[..., Direct]
) -> None:
    run = direct_run()
    made = pipeline(job, "", run)
    assert {row["kind"] for row in history(run.workspace, [made])} == {"retained", "gold"}
    folder = run.workspace.path(made) / LAST
    control, baseline = load_model(folder), load_model(job.model)
    assert control.config.hidden_size == baseline.config.hidden_size
    assert not torch.equal(control.get_input_embeddings().weight, baseline.get_input_embeddings().weight)
    history_of_loss = run.workspace.record(made)["counts"]
    assert history_of_loss["loss"] < 5 < torch.log(torch.tensor(400.0)), "better than drawing by lot"
    assert sorted(path.name for path in run.workspace.path(made).iterdir() if path.is_dir()) == ["steps"]
    named = job.model_copy(update={"gold": str(folder)})
    gold = resolve(named, run.workspace.hashes).gold
    assert gold is not None
    assert gold.path == str(folder)


def test_a_control_may_start_from_a_model_that_never_read_the_target(
    job: Job, direct_run: Callable[..., Direct]
) -> None:
    run = direct_run()
    few = job.model_copy(update={"control": job.control.model_copy(update={"learning_rate": 1e-9})})
    control = load_model(run.workspace.path(pipeline(few, job.model, run)) / LAST)
    start = load_model(job.model)
    pairs = zip(control.parameters(), start.parameters(), strict=True)
    assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in pairs)


def test_the_same_seed_draws_the_same_fresh_weights(
    job: Job, direct_run: Callable[..., Direct], tmp_path: Path
) -> None:
    runs = [direct_run(tmp_path / name) for name in ("one", "two")]
    first, second = (load_model(run.workspace.path(pipeline(job, "", run)) / LAST) for run in runs)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)


def test_without_text_there_is_nothing_to_train_a_control_on(
    make_job: Callable[..., Path], direct_run: Callable[..., Direct]
) -> None:
    with pytest.raises(BadInput, match=r"expected retain\.paths"):
        resolve_gold(read_job(make_job(), []), "", direct_run().workspace.hashes)


def test_blocks_that_the_model_has_no_room_for_train_no_control(job: Job, tmp_path: Path) -> None:
    longer = job.model_copy(update={"blocks": job.blocks.model_copy(update={"length": 129})})
    with pytest.raises(BadInput, match=r"blocks\.length: expected 2 to 128 tokens"):
        resolve_gold(longer, "", Hashes(tmp_path / "hashes.json"))
