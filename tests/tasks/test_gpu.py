"""What only a GPU can show."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flows.inputs import resolve
from flows.job import read_job
from storage.shards import read_shard
from tasks.blocks import blocks
from tasks.contents import LAST
from tasks.corpus import corpus
from tasks.dictionary import dictionary
from tasks.engine.runner import Run
from tasks.labels import labels
from tasks.logits import logits
from tasks.models import made_model
from tasks.reinforce import reinforce


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_labels_made_on_a_gpu_are_those_of_the_cpu(
    make_job: Callable[..., Path], direct_run: Callable[..., Run], tmp_path: Path
) -> None:
    """The same models: at most 1 label in 200 may differ by the rounding of another device."""
    job, columns = read_job(make_job(), []), {}
    for device in ("cpu", "cuda"):
        run = direct_run(tmp_path / device, device=device)
        given = resolve(job, run.workspace.hashes)
        texts = run(corpus, given.corpus, "text")
        pieces = run(blocks, texts, run(dictionary, texts, given.dictionary), given.baseline.tokenizer, job.blocks)
        if device == "cpu":
            trained = run(reinforce, texts, given.baseline, job.reinforce)
            reinforced_model = made_model(run.workspace, trained, LAST, given.baseline.tokenizer)
        made = run(
            labels,
            pieces,
            run(logits, pieces, given.baseline, reinforced_model, job.logits.on(job.placement)),
            job.labels,
        )
        columns[device] = read_shard(run.workspace.path(made) / "training.arrow").column("labels").to_pylist()
    pairs = [
        (a, b)
        for one, other in zip(columns["cpu"], columns["cuda"], strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert sum(a != b for a, b in pairs) <= len(pairs) / 200
