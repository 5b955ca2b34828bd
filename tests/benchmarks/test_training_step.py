"""What our trainer adds to the same step in a bare loop."""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from storage.artifact import Artifact
from storage.files import Hashes
from storage.shards import write_shard
from storage.workspace import Workspace
from tasks.engine.stage import Context, Placement
from tasks.models import find_model
from tasks.training.settings import Schedule, Training, TrainingSpec
from tasks.training.trainer import LabelTrainer, train_on_rank

VOCABULARY, BLOCKS, LENGTH, STEPS = 32_000, 4, 256, 6


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    """6 layers x 384 with random weights, and a tokenizer, which is never asked."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **shape)).save_pretrained(tmp_path / "model")
    for file in tiny_model.glob("tokenizer*"):
        (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
    return tmp_path / "model"


def test_a_training_step_beside_the_same_step_bare(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Callable[..., None]
) -> None:
    """Every step's processor time, ours and then the bare one's, hard labels at each position."""
    chance = np.random.default_rng(0)
    ids = chance.integers(0, VOCABULARY, (BLOCKS * STEPS, LENGTH), np.int32)
    labels = np.concatenate([ids[:, 1:], np.full((len(ids), 1), -100, np.int32)], 1)
    lists = [pa.array(list(column), pa.list_(pa.int32())) for column in (ids, labels)]
    write_shard(tmp_path / "examples.arrow", pa.table(lists, ["input_ids", "labels"]))
    bare, optimizer = bare_step(model)
    ratios, step = [], LabelTrainer.training_step

    def timed(trainer: LabelTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        beside = processor_seconds(lambda: bare(ids[:BLOCKS], labels[:BLOCKS], optimizer))
        started = process_time()
        loss = step(trainer, *args, **kwargs)
        trainer.optimizer.step()  # the bare one's is in its time as well
        ratios.append((process_time() - started) / beside)
        return loss

    monkeypatch.setattr(LabelTrainer, "training_step", timed)
    workspace, made = Workspace(tmp_path / "root"), Artifact("student", "bench", "00000000")
    context = Context(workspace.resume(made), workspace, made, Placement(device="cpu", micro_batch=BLOCKS))
    settings = Training(learning_rate=1e-5, batch=BLOCKS, precision="float32")
    baseline = find_model(model, Hashes(tmp_path / "hashes.json"))
    train_on_rank(TrainingSpec(context, baseline, tmp_path / "examples.arrow", settings, Schedule(STEPS, {})))
    record("training_step", ratios[1:], 1.05)
    print(f"\na training step: {', '.join(f'{ratio:.2f}' for ratio in ratios[1:])} of the same step bare")


def bare_step(model: Path) -> tuple[Callable[..., None], torch.optim.Optimizer]:
    """A step as one writes it by hand: logits whole, cross-entropy, backward, AdamW."""
    learner = LlamaForCausalLM.from_pretrained(model).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-5, fused=True)

    def step(ids: np.ndarray, labels: np.ndarray, optimizer: torch.optim.Optimizer) -> None:
        logits = learner(input_ids=torch.from_numpy(ids).long(), use_cache=False).logits
        targets = torch.from_numpy(labels).long().flatten()
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets))
        optimizer.step()
        optimizer.zero_grad()

    return step, optimizer


def processor_seconds(function: Callable[[], object]) -> float:
    started = process_time()
    function()
    return process_time() - started
