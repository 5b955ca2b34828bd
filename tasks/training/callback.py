"""What happens between two steps of a training: kept models, checkpoints, and an end where it goes astray."""

import time
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from storage.errors import TrainingDiverged
from storage.shards import write_shard
from tasks.contents import STEPS
from tasks.training.checkpoint import agreed, is_first, save_model
from tasks.training.spec import History, TrainingSpec


class TrainingCallback(TrainerCallback):
    """Keeps chosen steps, writes checkpoints by the clock, stops on what is not finite, reports progress."""

    def __init__(self, spec: TrainingSpec, tokenizer: Any) -> None:
        self._context, self._schedule, self._settings = spec.context, spec.schedule, spec.settings
        self._tokenizer = tokenizer
        self._started = self._saved = time.monotonic()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Dropout of a step does not depend on where the training was interrupted.
        torch.manual_seed(hash((self._settings.seed, state.global_step, args.process_index)))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in kwargs["model"].parameters() if p.grad is not None])
        if not (norm.full_tensor() if isinstance(norm, DTensor) else norm).isfinite():
            raise TrainingDiverged(
                f"expected a finite loss and gradient, found none at step {state.global_step + 1} of "
                f"{self._schedule.steps}; no optimizer step was taken on it: "
                "lower the learning rate or train in float32"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, schedule = state.global_step, self._schedule
        if step in schedule.keep:
            kept = self._context.folder / STEPS / schedule.keep[step]
            save_model(kwargs["model"], kept, self._settings.weights, self._tokenizer)
            self._finished(kept)
        if is_first():
            self._context.progress(step, schedule.steps)
        due = agreed(time.monotonic() - self._saved >= self._context.placement.checkpoint_seconds)
        control.should_training_stop = control.should_training_stop or step == schedule.until
        control.should_save = (due or step == schedule.until) and step < schedule.steps

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        state.log_history[-1]["seconds"] = time.monotonic() - self._started

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._finished(Path(args.output_dir or "") / f"checkpoint-{state.global_step}")
        self._saved = time.monotonic()

    def _finished(self, folder: Path) -> None:
        if is_first():
            self._context.checkpoint(folder)


def write_metrics(path: Path, history: History) -> None:
    """The `training_steps` shard."""
    columns = ("step", "loss", "learning_rate", "grad_norm", "seconds")
    write_shard(path, [{name: entry.get(name) for name in columns} for entry in history if "loss" in entry])
