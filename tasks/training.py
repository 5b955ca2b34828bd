"""The engine of both trainings: transformers' Trainer on an Arrow file of input ids and labels.

Labels lie unshifted in our files (position t shall predict label t); transformers shifts labels itself, so the collator
moves them one place to the right. The last position of a block never has a label, so nothing falls off the end.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from storage.errors import TrainingDiverged
from storage.tables import read_shard, write_shard
from tasks.models import Model, load_model, load_tokenizer, pick_device
from tasks.settings import Training
from tasks.stage import Work

NO_LABEL = -100
WHOLE = "WHOLE"  # written into a checkpoint when the Trainer has finished it


class Examples(Dataset[dict[str, np.ndarray]]):
    """Blocks of an Arrow file with columns input_ids and labels (lists of equal length, -100 for no label)."""

    def __init__(self, path: Path) -> None:
        table = read_shard(path)
        self._columns = {name: table.column(name) for name in ("input_ids", "labels")}
        self._length = len(table)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: column[index].values.to_numpy() for name, column in self._columns.items()}


def collate(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Pad on the right, where causal attention never looks, and shift labels as transformers expects them."""
    longest = max(len(example["input_ids"]) for example in examples)
    input_ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), NO_LABEL, dtype=torch.long)
    for row, example in enumerate(examples):
        length = len(example["input_ids"])
        input_ids[row, :length] = torch.from_numpy(example["input_ids"].astype(np.int64))
        labels[row, 1:length] = torch.from_numpy(example["labels"][:-1].astype(np.int64))
    return {"input_ids": input_ids, "labels": labels}


@dataclass(frozen=True)
class Course:
    """How long a training is, and what it leaves behind."""

    steps: int
    """Optimizer steps; the learning rate's schedule spans them."""
    keep: dict[int, str]
    """Steps whose model is written, to steps/NAME."""
    until: int | None = None
    """Step at which the training pauses, with a checkpoint from which another can go on."""


def train(work: Work, baseline: Model, data: Path, settings: Training, course: Course) -> Any:
    """Finetune the baseline on `data`.

    Goes on from the last whole checkpoint in the work folder. Raises TrainingDiverged before an optimizer step on a
    loss or gradient that is not finite. Returns the log history.
    """
    device = pick_device(work.placement.device)
    model = load_model(baseline.path, device).train()
    model.config.use_cache = False
    examples = Examples(data)
    micro = largest_divisor(settings.batch, work.placement.micro_batch)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(work.folder / "checkpoints"),
            max_steps=course.steps,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=settings.batch // micro,
            learning_rate=settings.learning_rate,
            adam_beta1=settings.adam_beta1,
            adam_beta2=settings.adam_beta2,
            weight_decay=settings.weight_decay,
            lr_scheduler_type=settings.schedule,
            warmup_steps=settings.warmup_steps,
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            bf16=settings.precision == "bfloat16",
            use_cpu=device == "cpu",
            dataloader_pin_memory=device != "cpu",
            save_strategy="no",  # Keeper decides, by the clock
            save_total_limit=1,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=examples,
        data_collator=collate,
        callbacks=[Keeper(work, course, settings.weights, load_tokenizer(baseline.tokenizer))],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.train(resume_from_checkpoint=last_checkpoint(work.folder / "checkpoints"))
    write_metrics(work.folder / "training_steps.parquet", trainer.state.log_history)
    if course.until in (None, course.steps):
        shutil.rmtree(work.folder / "checkpoints", ignore_errors=True)
    return trainer.state.log_history


class Keeper(TrainerCallback):
    """Keeps chosen steps, writes checkpoints by the clock, stops on what is not finite, reports progress."""

    def __init__(self, work: Work, course: Course, weights: str, tokenizer: Any) -> None:
        self._work, self._steps, self._keep, self._until = work, course.steps, course.keep, course.until
        self._weights, self._tokenizer = weights, tokenizer
        self._started = self._saved = time.monotonic()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        gradients = [p.grad for p in kwargs["model"].parameters() if p.grad is not None]
        if not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise TrainingDiverged(
                f"expected a finite loss and gradient, found none at step {state.global_step + 1} of {self._steps}; "
                "no optimizer step was taken on it: lower the learning rate or train in float32"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step in self._keep:
            self._save(kwargs["model"], self._work.folder / "steps" / self._keep[state.global_step])
        self._work.progress(state.global_step, self._steps)
        due = time.monotonic() - self._saved >= self._work.placement.checkpoint_seconds
        pauses = state.global_step == self._until
        control.should_training_stop = control.should_training_stop or pauses
        control.should_save = (due or pauses) and state.global_step < self._steps

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        state.log_history[-1]["seconds"] = time.monotonic() - self._started

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        (Path(args.output_dir or "") / f"checkpoint-{state.global_step}" / WHOLE).touch()
        self._saved = time.monotonic()

    def _save(self, model: Any, folder: Path) -> None:
        temporary = folder.with_name(f".{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        dtype = getattr(torch, self._weights)
        state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
        model.save_pretrained(temporary, state_dict=state)
        self._tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written whole. A torn one, left by a kill, is removed."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / WHOLE).exists():
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def largest_divisor(batch: int, limit: int) -> int:
    """The largest micro-batch of at most `limit` blocks that divides the effective batch."""
    return max(size for size in range(1, min(batch, limit) + 1) if batch % size == 0)


def write_metrics(path: Path, history: list[dict[str, float]]) -> None:
    """The `training_steps` shard."""
    columns = ("step", "loss", "learning_rate", "grad_norm", "seconds")
    write_shard(path, [{name: entry.get(name) for name in columns} for entry in history if "loss" in entry])


def steps_of_epochs(blocks: int, epochs: float, batch: int) -> int:
    """Optimizer steps of so many passes over the blocks; the last step of a pass may be smaller."""
    return max(1, math.ceil(math.ceil(blocks / batch) * epochs))
