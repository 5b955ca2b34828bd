"""What the baseline predicts on the text to retain, as labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from storage.shards import read_shard
from tasks.contents import RETAINED
from tasks.engine.runner import Direct
from tasks.models import find_model, load_model
from tasks.retained import retained
from tasks.retained_labels import distribution, retained_labels
from tasks.texts import find_files


def test_a_label_is_the_whole_distribution_in_the_mean_over_draws() -> None:
    torch.manual_seed(0)
    logits_V = torch.randn(12)
    draws = 200_000
    drawn = torch.rand(draws, generator=torch.Generator().manual_seed(1))
    candidates, shares = distribution(logits_V.expand(draws, -1), 4, drawn)
    assert candidates.shape == shares.shape == (draws, 5)
    assert shares.sum(1).numpy() == pytest.approx(np.ones(draws), abs=1e-5)
    assert set(candidates[0, :4].tolist()) == set(logits_V.topk(4).indices.tolist())
    mean = torch.zeros(12, dtype=torch.float64).index_add_(0, candidates.flatten().long(), shares.flatten().double())
    assert (mean / draws).numpy() == pytest.approx(logits_V.softmax(0).numpy(), abs=2e-3)


@pytest.mark.parametrize("logits", [[50.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_nothing_is_left_to_draw_where_every_token_is_kept(logits: list[float]) -> None:
    candidates, shares = distribution(torch.tensor([logits]), 16, torch.tensor([0.99]))
    assert candidates.max() < 3
    assert float(shares[0, -1]) == 0
    assert float(shares.sum()) == pytest.approx(1)


def test_the_stage_labels_what_is_labelled_whatever_it_takes_at_a_time(
    direct_run: Callable[..., Direct], tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.txt").write_text("The old baker closed his door, and in the town the lamps were lit. " * 3)
    tables = []
    for micro_batch in (1, 4):
        run = direct_run(tmp_path / f"ws-{micro_batch}", micro_batch=micro_batch)
        files = find_files([str(tmp_path / "kept.txt")], run.workspace.hashes, "retain.paths")
        baseline = find_model(tiny_model, run.workspace.hashes)
        made = run(retained_labels, run(retained, files, "text", baseline.tokenizer, 16), baseline, "float32", 4)
        tables.append(read_shard(run.workspace.path(made) / RETAINED).to_pylist())
    model = load_model(baseline.path, "cpu")
    for alone, together in zip(*tables, strict=True):
        assert alone["candidates"] == together["candidates"]
        shares = np.array(alone["shares"]).reshape(-1, 5)
        assert shares == pytest.approx(np.array(together["shares"]).reshape(-1, 5), abs=1e-6)
        labelled = np.array(alone["labels"]) != -100
        assert shares.sum(1) == pytest.approx(labelled.astype(float), abs=1e-5)
        with torch.no_grad():
            likeliest = model(torch.tensor([alone["input_ids"]])).logits[0].argmax(1)
        assert np.array(alone["candidates"]).reshape(-1, 5)[labelled, 0].tolist() == likeliest[labelled].tolist()
