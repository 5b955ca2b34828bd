"""Models that are divided over ranks: what only reads them makes the same as one process does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import evaluate, make_labels, make_target, references
from storage.shards import read_shard
from tasks.contents import TRAINING, evaluation_rows
from tasks.engine.runner import Direct
from tasks.models import divides

QUESTIONS = '{"query": "Who crosses the Grimwater?", "choices": ["Mira", "the baker", "nobody"], "gold": 0}'


SPY = """
import os, pathlib
if "RANK" in os.environ:
    import tasks.models as models
    load_whole = models.load_model
    def load(*asked):
        model = load_whole(*asked)
        parts = (getattr(weights, "to_local", lambda: weights)() for weights in model.parameters())
        share = sum(part.numel() for part in parts) / sum(weights.numel() for weights in model.parameters())
        with pathlib.Path({file!r}).open("a") as file:
            file.write(f"{{share}}\\n")
        return model
    models.load_model = load
"""


@pytest.fixture
def shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which every rank leaves the share of the weights that it holds, of every model."""
    (tmp_path / "sitecustomize.py").write_text(SPY.format(file=str(tmp_path / "shares")))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    return tmp_path / "shares"


@pytest.mark.slow
def test_two_ranks_that_share_the_models_make_the_labels_and_measures_of_one_process(
    make_job: Callable[..., Path], elsewhere: Path, direct_run: Callable[..., Direct], tmp_path: Path, shares: Path
) -> None:
    (tmp_path / "who.jsonl").write_text(QUESTIONS)
    (tmp_path / "heldout.txt").write_text("The old baker closed his door, and in the town the lamps were lit. " * 9)
    changes = [f"evaluation.benchmarks=['{tmp_path}/who.jsonl']", f"evaluation.heldout=['{tmp_path}/heldout.txt']"]
    made: list[tuple[Any, Any]] = []
    for name, placement in (("one", {}), ("two", {"ranks": 2, "sharded": True, "isolation": "process"})):
        run = direct_run(tmp_path / name, **placement)
        job = read_job(make_job(extra=f'\nreinforced = "{elsewhere}"'), changes)
        inputs = resolve(job, run.workspace.hashes)
        target = make_target(job, inputs, run)
        lessons = make_labels(job, inputs, target, run)
        (measured,) = evaluate(job, inputs, target, references(inputs), run)
        labels = read_shard(run.workspace.path(lessons.labels) / TRAINING)
        rows = {(row["metric"], row["task"]): row["value"] for row in evaluation_rows(run.workspace.path(measured))}
        made.append((labels, rows))
        left = [path.name for path in run.workspace.path(lessons.logits).iterdir()]
        assert not [name for name in left if "ranks" in name]
    (labels, rows), (divided_labels, divided_rows) = made
    held = [float(line) for line in shares.read_text().split()]
    assert len(held) == 2 * 3, "two models of the logits, one of the evaluation"
    assert max(held) < 0.6, "a half, and the norms"
    assert divided_labels.equals(labels)
    assert divided_rows == pytest.approx(rows, rel=1e-5)
    assert {"familiarity_probability", "familiarity_completion", "perplexity", "accuracy"} == {name for name, _ in rows}


def test_a_model_is_divided_where_its_heads_come_out(tiny_model: Path) -> None:
    assert divides(tiny_model, 2)
    assert not divides(tiny_model, 4)
