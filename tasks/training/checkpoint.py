"""What a training leaves on the disk: checkpoints to go on from, and whole models.

A checkpoint is written by torch's distributed checkpointing under the parameters' names, each rank its share. So it
does not know how the model was divided, and a training may go on on other ranks, replicated or sharded.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from transformers.trainer_callback import TrainerState

from storage.files import sync, sync_below, whole_folder
from tasks.method.rounding import joined
from tasks.training.adapters import merged
from tasks.training.compact import REST

STATE = "trainer_state.json"
WHOLE = "WHOLE"  # written into a checkpoint when it is finished
BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)
WHOLE_ON_CPU = StateDictOptions(full_state_dict=True, cpu_offload=True)


def save_checkpoint(folder: Path, trainer: Any) -> Path:
    """Write checkpoint-STEP, then remove the earlier ones. Every rank calls it and writes its share."""
    checkpoint = folder / f"checkpoint-{trainer.state.global_step}"
    if is_first():
        shutil.rmtree(checkpoint, ignore_errors=True)
    barrier()
    model, optimizer = get_state_dict(trainer.model, trainer.optimizer.optimizer, options=BY_NAME)
    _quietly(save, _state(model, optimizer, trainer), checkpoint_id=checkpoint)
    if is_first():
        trainer.state.save_to_json(str(checkpoint / STATE))
        sync_below(checkpoint)
        (checkpoint / WHOLE).touch()
        sync(checkpoint)
        sync(folder)
        for other in folder.glob("checkpoint-*"):
            if other != checkpoint:
                shutil.rmtree(other)
    return checkpoint


def load_checkpoint(checkpoint: Path, trainer: Any) -> None:
    """Put model, optimizer and schedule where the checkpoint has them. Every rank reads its share."""
    bare = trainer.optimizer.optimizer
    model, optimizer = get_state_dict(trainer.model, bare, options=BY_NAME)
    state = _state(model, optimizer, trainer)
    _quietly(load, state, checkpoint_id=checkpoint)
    set_state_dict(
        trainer.model, bare, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=BY_NAME
    )
    trainer.lr_scheduler.load_state_dict(state["schedule"])


def _state(model: Any, optimizer: Any, trainer: Any) -> dict[str, Any]:
    return {"model": model, "optimizer": optimizer, "schedule": trainer.lr_scheduler.state_dict()}


def _quietly(act: Any, state: dict[str, Any], checkpoint_id: Path) -> None:
    """Without the warning that there is one process only: there may well be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        act(state, checkpoint_id=str(checkpoint_id))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole. A torn one, left by a kill, is removed by the first rank."""
    checkpoints = {int(path.name.split("-")[1]): path for path in folder.glob("checkpoint-*")}
    whole = {step: path for step, path in checkpoints.items() if (path / WHOLE).exists()}
    barrier()  # before anything is removed, every rank has looked
    for step in checkpoints.keys() - whole.keys() if is_first() else ():
        shutil.rmtree(checkpoints[step])
    return whole[max(whole)] if whole else None


def steps_done(checkpoint: Path | None) -> int:
    """The optimizer step of a checkpoint, 0 for none."""
    return TrainerState.load_from_json(str(checkpoint / STATE)).global_step if checkpoint else 0


def whole_weights(model: Any, optimizer: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights by name, on the CPU, with what the optimizer keeps beside them. Every rank calls it.

    Empty on all ranks of a divided model but the first.
    """
    weights: dict[str, Any] = get_model_state_dict(model, options=WHOLE_ON_CPU)
    for name, parameter in model.named_parameters():
        if name in weights and (rest := optimizer.state.get(parameter, {}).get(REST)) is not None:
            weights[name] = joined(weights[name], rest.cpu())
    return {name: weight.to(dtype) for name, weight in (merged(model, weights) if weights else weights).items()}


def save_model(model: Any, folder: Path, weights: dict[str, Tensor], tokenizer: Any) -> None:
    """Write an ordinary Hugging Face directory with these weights. Every rank calls it, the first writes."""
    if not is_first():
        return
    tied = getattr(model, "all_tied_weights_keys", {})  # gathered apart, they would be stored twice
    state = {name: weight for name, weight in weights.items() if name not in tied}
    divided = model.config.__dict__.pop("distributed_config", None)  # else transformers would gather, again
    with whole_folder(folder) as temporary:
        try:
            model.save_pretrained(temporary, state_dict=state)
            model.config.dtype = next(iter(state.values())).dtype  # not that of the model as it is trained
            model.config.save_pretrained(temporary)
        finally:
            if divided:
                model.config.distributed_config = divided
        tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)


def is_first() -> bool:
    """Whether this process is rank 0, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0


def barrier() -> None:
    """Wait for the other ranks, where there are some."""
    if dist.is_initialized():
        dist.barrier()


def agreed(answer: bool) -> bool:
    """The first rank's answer, on every rank."""
    if not dist.is_initialized():
        return answer
    answers = [answer]
    dist.broadcast_object_list(answers, src=0)
    return answers[0]
