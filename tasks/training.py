"""The engine of both trainings: transformers' Trainer on an Arrow file of input ids and labels.

The effective batch is meaning, its split is not: the same blocks in every step, the same mean over their labels,
however many ranks share them and whatever each takes at a time. (Dropout, where a model has any, is drawn anew for each
step and rank, so there the split shows as noise.)
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from transformers import (
    AutoModelForCausalLM,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.trainer_callback import TrainerControl, TrainerState

from storage.errors import TrainingDiverged
from storage.shards import write_shard
from tasks.checkpoint import (
    agreed,
    is_first,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_model,
    steps_done,
    together,
)
from tasks.examples import Examples, Retained, collate
from tasks.models import Model, load_model, load_tokenizer, pick_device
from tasks.settings import Training, split
from tasks.stage import Placement, Work

History = list[dict[str, float]]


@dataclass(frozen=True)
class Course:
    """How long a training is, and what it leaves behind."""

    steps: int
    """Optimizer steps; the learning rate's schedule spans them."""
    keep: dict[int, str]
    """Steps whose model is written, to steps/NAME."""
    until: int | None = None
    """Step at which the training pauses, with a checkpoint from which another can go on."""


@dataclass(frozen=True)
class Hardening:
    """A second place at which the student learns the same: its weights moved by `times` what reinforcement changed."""

    reinforced: Model
    times: float


@dataclass(frozen=True)
class Lesson:
    """A training: all that one of its ranks must know."""

    work: Work
    baseline: Model
    data: Path
    settings: Training
    course: Course
    retained: Retained | None = None
    hardening: Hardening | None = None


def train(
    work: Work,
    baseline: Model,
    data: Path,
    settings: Training,
    course: Course,
    retained: Retained | None = None,
    hardening: Hardening | None = None,
) -> History:
    """Finetune the baseline on `data`, here or on the ranks that the placement asks for. Returns the log history.

    Goes on from the last whole checkpoint in the work folder. Raises TrainingDiverged before an optimizer step on a
    loss or gradient that is not finite, BadInput for ranks that cannot share the batch.
    """
    split(settings.batch, work.placement)
    lesson = Lesson(work, baseline, data, settings, course, retained, hardening)
    if work.placement.ranks * work.placement.nodes == 1:
        return learn(lesson)
    from tasks.ranks import in_ranks

    return in_ranks(lesson)


def learn(lesson: Lesson) -> History:
    """The training as one process does it: alone, or as one of the ranks."""
    work, settings, course = lesson.work, lesson.settings, lesson.course
    examples = Examples(lesson.data, course.steps * settings.batch, settings.seed, lesson.retained)
    arguments = _arguments(lesson)
    model = _placed(lesson.baseline, work.placement, settings.precision)
    model.config.use_cache = False
    keeper = Keeper(lesson, load_tokenizer(lesson.baseline.tokenizer))
    trainer = Resumable(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=collate,
        compute_loss_func=mean_over_labels,
        callbacks=[keeper],
    )
    trainer.change = _change(lesson, model)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    checkpoint, started = last_checkpoint(work.folder / "checkpoints"), time.monotonic()
    first = steps_done(checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    together()
    if is_first():
        last, history = trainer.state.global_step, trainer.state.log_history
        write_metrics(work.folder / "training_steps.parquet", history)
        tokens = examples.tokens(first * settings.batch, last * settings.batch)
        work.took(f"{first:06d}-{last:06d}", tokens, time.monotonic() - started)
        if course.until in (None, course.steps):
            shutil.rmtree(work.folder / "checkpoints", ignore_errors=True)
    return list(trainer.state.log_history)


def _arguments(lesson: Lesson) -> TrainingArguments:
    placement, settings = lesson.work.placement, lesson.settings
    micro, accumulated = split(settings.batch, placement)
    device = pick_device(placement.device)
    arguments = TrainingArguments(
        output_dir=str(lesson.work.folder / "checkpoints"),
        max_steps=lesson.course.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        train_sampling_strategy="sequential",
        average_tokens_across_devices=True,
        # A sharded model's gradients are divided after every micro-batch: whole ones would not fit.
        accelerator_config={"gradient_accumulation_kwargs": {"sync_each_batch": placement.sharded}},
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
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else one process would take every GPU of the machine, and a batch for each
    return arguments


def _placed(baseline: Model, placement: Placement, precision: str) -> Any:
    """The baseline in training mode: whole, or only this rank's share of it. Master weights are float32."""
    if not (placement.sharded and dist.is_initialized()):
        return load_model(baseline.path, placement.device).train()
    from transformers.distributed import DistributedConfig

    shares = DistributedConfig(fsdp_size=dist.get_world_size(), fsdp_mixed_precision=precision == "bfloat16")
    model = AutoModelForCausalLM.from_pretrained(
        baseline.path, dtype=torch.float32, use_safetensors=True, distributed_config=shares
    )
    return model.train()


def _change(lesson: Lesson, model: Any) -> list[torch.Tensor]:
    """What hardening adds to each parameter of the baseline, this rank's share of it; nothing without hardening."""
    if not lesson.hardening:
        return []
    other = _placed(lesson.hardening.reinforced, lesson.work.placement, lesson.settings.precision)
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return [lesson.hardening.times * (there.detach() - here.detach()) for here, there in pairs]


@contextmanager
def moved(model: Any, change: list[torch.Tensor]) -> Iterator[None]:
    """The model with other weights, for a while; it gets its own back to the last bit."""
    parameters = list(model.parameters())
    with torch.no_grad():
        own = [parameter.clone() for parameter in parameters]
        for parameter, difference in zip(parameters, change, strict=True):
            parameter.add_(difference)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, own, strict=True):
                parameter.copy_(weights)


def mean_over_labels(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the labelled positions of the whole effective batch, for any architecture.

    The clamp is for a batch without a single label, which teaches nothing and must not divide by zero.
    """
    logits = outputs["logits"]
    loss: torch.Tensor = ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch.clamp(min=1))
    return loss


def mean_over_soft_labels(
    outputs: Any,
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor,
    candidates_RTK: torch.Tensor,
    shares_RTK: torch.Tensor,
) -> torch.Tensor:
    """The same with a distribution for a label. `labels` only say how many there are; no share, no label."""
    logits_RTV = outputs["logits"].float()
    log_RTK = logits_RTV.gather(2, candidates_RTK) - logits_RTV.logsumexp(2, keepdim=True)
    loss: torch.Tensor = -(shares_RTK * log_RTK).sum() / num_items_in_batch.clamp(min=1)
    return loss


class Resumable(Trainer):
    """A Trainer with soft labels and hardening, whose checkpoints fit any number of ranks, replicated or sharded."""

    change: list[torch.Tensor] = []  # noqa: RUF012, set once, before the training

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """With hardening the gradients of both places add up; the loss that is logged is their mean."""
        loss: torch.Tensor = super().training_step(model, dict(inputs), *args, **kwargs)
        if not self.change:
            return loss
        with moved(self.model, self.change):
            there: torch.Tensor = super().training_step(model, dict(inputs), *args, **kwargs)
        return (loss + there) / 2

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        soft = {f"{name}_RTK": inputs.pop(name) for name in ("candidates", "shares") if name in inputs}
        # Set each time: of the portions of one batch some may hold retained text alone, whose labels are hard.
        self.compute_loss_func = partial(mean_over_soft_labels, **soft) if soft else mean_over_labels
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        save_checkpoint(Path(self.args.output_dir), self)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing yet: the weights come with the optimizer's state, when both lie on their ranks."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint:
            load_checkpoint(Path(checkpoint), self)


class Keeper(TrainerCallback):
    """Keeps chosen steps, writes checkpoints by the clock, stops on what is not finite, reports progress."""

    def __init__(self, lesson: Lesson, tokenizer: Any) -> None:
        self._work, self._course, self._settings = lesson.work, lesson.course, lesson.settings
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
                f"{self._course.steps}; no optimizer step was taken on it: lower the learning rate or train in float32"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, course = state.global_step, self._course
        if step in course.keep:
            kept = self._work.folder / "steps" / course.keep[step]
            save_model(kwargs["model"], kept, self._settings.weights, self._tokenizer)
            self._finished(kept)
        if is_first():
            self._work.progress(step, course.steps)
        due = agreed(time.monotonic() - self._saved >= self._work.placement.checkpoint_seconds)
        control.should_training_stop = control.should_training_stop or step == course.until
        control.should_save = (due or step == course.until) and step < course.steps

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        state.log_history[-1]["seconds"] = time.monotonic() - self._started

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._finished(Path(args.output_dir or "") / f"checkpoint-{state.global_step}")
        self._saved = time.monotonic()

    def _finished(self, folder: Path) -> None:
        if is_first():
            self._work.wrote(folder)


def write_metrics(path: Path, history: History) -> None:
    """The `training_steps` shard."""
    columns = ("step", "loss", "learning_rate", "grad_norm", "seconds")
    write_shard(path, [{name: entry.get(name) for name in columns} for entry in history if "loss" in entry])
