"""How fast this machine is for a job's model, measured in at most three seconds, and how much memory it has free.

What is timed is one layer of Llama's kind, as wide as the model (up to `WIDEST`), with its share of the vocabulary: a
model is so many of them. Nothing of the model itself is loaded.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.fleet import Card
from flows.inputs import Inputs
from flows.job import Job
from storage.machine import hardware
from tasks.engine.stage import pick_device
from tasks.models import config_of

SECONDS = 0.8  # of each of three measurements, with what comes before them less than three seconds
WIDEST = {"cpu": 1024, "cuda": 8192}  # above it the speed of a layer does not change any more
LAYER = {"num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 8}
GENERATED = 8  # rows that are generated at a time
SHORTEST = 8  # tokens of a row in the first pass, which also warms up


def this_machine(job: Job, inputs: Inputs) -> Card:
    """The device that the job would run on here, at its measured speed. Raises BadInput where it has none such."""
    start = time.perf_counter()
    import torch

    name = pick_device(job.placement.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(job.placement.threads or threads)
    try:
        layer = _layer(config_of(inputs.baseline.path), name)
        ready = time.perf_counter() - start
        training, forward, generation = _speeds(layer, job)
    finally:
        torch.set_num_threads(threads)
    gpu = name == "cuda"
    shown = torch.cuda.get_device_name() if gpu else f"CPU, {hardware()['cores']} cores"
    memory = torch.cuda.mem_get_info()[0] if gpu else free_memory()
    number = torch.cuda.device_count() if gpu else 1
    return Card(shown, memory, training, forward, generation, number=number, is_gpu=gpu, start=ready)


def free_memory() -> float:
    """Bytes that a process can still take: of the machine, and of the control group that it is in."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for limit, used in CONTROL_GROUPS:
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


GROUPS = Path("/sys/fs/cgroup")
CONTROL_GROUPS = (
    (GROUPS / "memory.max", GROUPS / "memory.current"),
    (GROUPS / "memory" / "memory.limit_in_bytes", GROUPS / "memory" / "memory.usage_in_bytes"),
)


def _layer(config: dict[str, Any], device: str) -> Any:
    """A layer with random weights, and its share of the vocabulary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers = config.get("hidden_size") or 512, config.get("num_hidden_layers") or 12
    width = max(16, min(hidden, WIDEST[device]) // 16 * 16)
    inner = int(config.get("intermediate_size") or 4 * hidden) * width // hidden
    vocabulary = max(8, int(config.get("vocab_size") or 0) // max(1, layers))
    shape = LlamaConfig(hidden_size=width, intermediate_size=inner, vocab_size=vocabulary, **LAYER)
    with torch.device(device):
        return LlamaForCausalLM(shape)


def _speeds(layer: Any, job: Job) -> tuple[float, float, float]:
    """FLOP/s of a training step, of a forward pass as the logits are made, and of a token at a time."""
    import torch

    rows, length, device = min(job.placement.micro_batch, job.student.batch), job.blocks.length, layer.device.type
    parameters = sum(p.numel() for p in layer.parameters()) - layer.get_input_embeddings().weight.numel()
    precision = getattr(torch, job.placement.precision(job.logits.precision))

    def train(ids: Any) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=job.student.precision == "bfloat16"):
            layer(ids, labels=ids).loss.backward()

    def read(ids: Any) -> None:
        with torch.no_grad():
            layer(ids, use_cache=False)

    training = 6 * parameters * _rate(train, rows, length, layer)
    layer.to(precision)
    forward = 2 * parameters * _rate(read, rows, length, layer)
    return training, forward, 2 * parameters * _rate(read, GENERATED, 1, layer)


def _rate(work: Callable[[Any], None], rows: int, length: int, layer: Any) -> float:
    """Tokens a second in the longest rows, up to `length`, for which there is time."""
    import torch

    until, columns, taken = time.perf_counter() + SECONDS, min(length, SHORTEST), list[float]()
    while True:
        ids = torch.ones((rows, columns), dtype=torch.long, device=layer.device)
        started = time.perf_counter()
        work(ids)
        if layer.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
        left = until - time.perf_counter()
        if columns < length and 2 * taken[-1] < left:
            columns, taken = min(length, 2 * columns), []
        elif taken[-1] > left:
            return rows * columns * len(taken) / sum(taken)
