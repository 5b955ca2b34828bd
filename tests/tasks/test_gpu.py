"""What only a GPU can show."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows.job import look, read_job
from storage.shards import read_shard
from tasks.blocks import blocks
from tasks.corpus import corpus
from tasks.dictionary import dictionary
from tasks.labels import labels
from tasks.logits import logits
from tasks.models import made_model
from tasks.reinforce import LAST, reinforce
from tasks.run import Run


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_labels_made_on_a_gpu_are_those_of_the_cpu(
    make_job: Callable[..., Path], direct_run: Callable[..., Run], tmp_path: Path
) -> None:
    """The same models: at most 1 label in 200 may differ by the rounding of another device."""
    job, columns = read_job(make_job(), []), {}
    for device in ("cpu", "cuda"):
        run = direct_run(tmp_path / device, device=device)
        given = look(job, run.workspace.hashes)
        texts = run(corpus, given.corpus, "text")
        pieces = run(blocks, texts, run(dictionary, texts, given.dictionary), given.baseline.tokenizer, job.blocks)
        if device == "cpu":
            trained = run(reinforce, texts, given.baseline, job.reinforce)
            knows_more = made_model(run.workspace, trained, LAST, given.baseline.tokenizer)
        made = run(labels, pieces, run(logits, pieces, given.baseline, knows_more, job.logits), job.labels)
        columns[device] = read_shard(run.workspace.path(made) / "training.arrow").column("labels").to_pylist()
    pairs = [
        (a, b)
        for one, other in zip(columns["cpu"], columns["cuda"], strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert sum(a != b for a, b in pairs) <= len(pairs) / 200
