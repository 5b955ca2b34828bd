"""Both trainings as one process does them: transformers' Trainer on an Arrow file of input ids and labels.

The effective batch is meaning, its split is not: the same blocks in every step, the same mean over their labels,
however many ranks share them and whatever each takes at a time. (Dropout, where a model has any, is drawn anew for each
step and rank, so there the split shows as noise.)
"""

import shutil
import time
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
from transformers.trainer_callback import TrainerControl, TrainerState

from storage.errors import TrainingDiverged
from storage.shards import read_shard, write_shard
from tasks.contents import NO_LABEL, STEPS
from tasks.engine.stage import Placement, pick_device
from tasks.method.loss import hard_label_loss, hardening_of, moved, soft_label_loss
from tasks.method.null_space import NullSpace
from tasks.models import Model, load_model, load_tokenizer
from tasks.training.adapters import add_adapters
from tasks.training.checkpoint import (
    agreed,
    barrier,
    is_first,
    last_checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_model,
    steps_done,
    whole_weights,
)
from tasks.training.compact import CompactAdamW
from tasks.training.examples import Examples, collate, unshifted
from tasks.training.head import loss_in_head, separable
from tasks.training.settings import History, Training, TrainingSpec, split

MOMENT_BLOCKS = 64  # of the text to keep, from which its directions are taken


def train_on_rank(spec: TrainingSpec) -> History:
    """The training as one process does it: alone, or as one of the ranks."""
    context, settings, schedule = spec.context, spec.settings, spec.schedule
    examples = Examples(spec.data, schedule.steps * settings.batch, settings.seed, spec.retained)
    arguments = _arguments(spec)
    model = _placed(spec.baseline, context.placement, settings.precision)
    model.config.use_cache = False
    change = _change(spec, model)
    if settings.lora:
        add_adapters(model, settings.lora, settings.seed)
    trainer = LabelTrainer(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=collate,
        compute_loss_func=hard_label_loss,  # replaced for each portion; Trainer counts labels where there is one
        callbacks=[TrainingCallback(spec, load_tokenizer(spec.baseline.tokenizer), _null_space(spec, model))],
        optimizer_cls_and_kwargs=_optimizer(settings, arguments),
    )
    trainer.change = change
    trainer.separable = not context.placement.sharded and separable(model)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    checkpoint, started = last_checkpoint(context.folder / "checkpoints"), time.monotonic()
    first = steps_done(checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    barrier()
    if is_first():
        last, steps = trainer.state.global_step, [entry for entry in trainer.state.log_history if "loss" in entry]
        write_shard(context.folder / "training_steps.parquet", steps)
        tokens = examples.tokens(first * settings.batch, last * settings.batch)
        context.log_cost(f"{first:06d}-{last:06d}", tokens, time.monotonic() - started)
        if schedule.until in (None, schedule.steps):
            shutil.rmtree(context.folder / "checkpoints", ignore_errors=True)
    return list(trainer.state.log_history)


def _arguments(spec: TrainingSpec) -> TrainingArguments:
    placement, settings = spec.context.placement, spec.settings
    micro, accumulated = split(settings, placement)
    device = pick_device(placement.device)
    arguments = TrainingArguments(
        output_dir=str(spec.context.folder / "checkpoints"),
        max_steps=spec.schedule.steps,
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
        activation_checkpointing=placement.recompute,
        seed=settings.seed,
        bf16=settings.precision == "bfloat16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        save_strategy="no",  # TrainingCallback decides, by the clock
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # else one process would take every GPU of the machine, and a batch for each
    return arguments


def _optimizer(settings: Training, arguments: TrainingArguments) -> tuple[type[CompactAdamW], dict[str, Any]] | None:
    """Ours for what is held in bfloat16; None for torch's own."""
    if settings.memory == "float32":
        return None
    return CompactAdamW, {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": arguments.adam_epsilon,
        "stochastic": settings.memory == "stochastic",
    }


def _placed(baseline: Model, placement: Placement, precision: str) -> Any:
    """The baseline in training mode and float32: whole, or only this rank's share of it."""
    if not (placement.sharded and dist.is_initialized()):
        return load_model(baseline.path, placement.device).train()
    from transformers.distributed import DistributedConfig

    shares = DistributedConfig(fsdp_size=dist.get_world_size(), fsdp_mixed_precision=precision == "bfloat16")
    model = AutoModelForCausalLM.from_pretrained(
        baseline.path, dtype=torch.float32, use_safetensors=True, distributed_config=shares
    )
    return model.train()


def _change(spec: TrainingSpec, model: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What hardening adds to each parameter of the baseline, this rank's share of it; nothing without hardening."""
    if not spec.hardening:
        return []
    reinforced = _placed(spec.hardening.reinforced, spec.context.placement, spec.settings.precision)
    held = torch.float32 if spec.settings.memory == "float32" else torch.bfloat16
    return [(own, change.to(held)) for own, change in hardening_of(model, reinforced, spec.hardening.times)]


class LabelTrainer(Trainer):
    """A Trainer with soft labels and hardening, whose checkpoints fit any number of ranks, replicated or sharded."""

    change: list[tuple[torch.Tensor, torch.Tensor]] = []  # noqa: RUF012, set once, before the training
    separable = False
    """Whether the head may make the loss, a chunk of positions at a time. A sharded head's gradients come out wrong:
    FSDP gathers them at the model's own outputs."""

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """With hardening the gradients of both places add up; the loss that is logged is their mean."""
        loss: torch.Tensor = super().training_step(model, dict(inputs), *args, **kwargs)
        if not self.change:
            return loss
        with moved(self.change):
            there: torch.Tensor = super().training_step(model, dict(inputs), *args, **kwargs)
        return (loss + there) / 2

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        # Of the portions of one batch some may hold retained text alone, whose labels are hard.
        soft = [inputs.pop(name) for name in ("candidates", "shares") if name in inputs]
        targets = soft or [unshifted(inputs["labels"])]
        trained_RT = soft[1].sum(2) > 0 if soft else targets[0] != NO_LABEL
        loss_of = partial(soft_label_loss if soft else hard_label_loss, count=num_items_in_batch)
        if not self.separable:
            self.compute_loss_func = lambda outputs, *_, **__: loss_of(outputs["logits"], *targets)
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with loss_in_head(self.model, trained_RT, targets, loss_of) as losses:
            self.compute_loss_func = lambda outputs, *_, **__: losses[0] + 0 * outputs["logits"].sum()
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        # Adapters have nothing that is left out of weight decay, and checkpoints know no empty group.
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        save_checkpoint(Path(self.args.output_dir), self)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing yet: the weights come with the optimizer's state, when both lie on their ranks."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint:
            load_checkpoint(Path(checkpoint), self)


def _null_space(spec: TrainingSpec, model: Any) -> NullSpace | None:
    """What keeps the update out of what the text to keep uses; nothing without such text."""
    if not spec.kept_text:
        return None
    blocks = read_shard(spec.kept_text.path).column("input_ids")[:MOMENT_BLOCKS]
    texts = (torch.from_numpy(block.values.to_numpy().astype("int64"))[None] for block in blocks)
    return NullSpace(model, texts, spec.kept_text.share)


class TrainingCallback(TrainerCallback):
    """Keeps chosen steps, writes checkpoints by the clock, stops on what is not finite, reports progress.

    What a step changes along the directions of the text to keep is taken back before anybody sees it.
    """

    def __init__(self, spec: TrainingSpec, tokenizer: Any, null_space: NullSpace | None) -> None:
        self._context, self._schedule, self._settings = spec.context, spec.schedule, spec.settings
        self._tokenizer, self._null_space = tokenizer, null_space
        self._started = self._saved = time.monotonic()

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Dropout of a step does not depend on where the training was interrupted.
        torch.manual_seed(hash((self._settings.seed, state.global_step, args.process_index)))

    def on_pre_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in kwargs["model"].parameters() if p.grad is not None])
        if not (norm.full_tensor() if isinstance(norm, DTensor) else norm).isfinite():
            raise TrainingDiverged(
                f"expected a finite loss and gradient, found none at step {state.global_step + 1} of "
                f"{self._schedule.steps}; no optimizer step was taken on it: "
                "lower the learning rate or train in float32"
            )

    def on_optimizer_step(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._null_space:
            self._null_space.project()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step, schedule = state.global_step, self._schedule
        if step in schedule.keep:
            kept = self._context.folder / STEPS / schedule.keep[step]
            weights = whole_weights(kwargs["model"], kwargs["optimizer"], getattr(torch, self._settings.weights))
            save_model(kwargs["model"], kept, weights, self._tokenizer)
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
