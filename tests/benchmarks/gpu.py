"""The figures of one GPU: `make bench-gpu`, at most 8 minutes, no network, neither Prefect nor lm-eval.

    python tests/benchmarks/gpu.py [--tiny] [--out bench-gpu.json]

Llama-2-7B's width with 8 of its 32 layers and random weights. Every figure is printed and written as soon as it is
known. `--tiny` is the same on a few units of width, to see on any machine that it runs; its figures mean nothing.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from storage.artifact import Artifact
from storage.files import Hashes
from storage.shards import write_shard
from storage.workspace import Workspace
from tasks.demo.pretrain import train_tokenizer
from tasks.engine.stage import Context, Placement
from tasks.logits import LogitsSettings, Rows
from tasks.measure.familiarity import complete
from tasks.measure.loaded import LoadedModel
from tasks.models import find_model
from tasks.training.settings import Schedule, Training, TrainingSpec
from tasks.training.trainer import train_on_rank

LAYERS, WHOLE = 8, 32
PEAK = 989e12
"""FLOP a second of an H100 or H200 in bfloat16, dense: what MFU is a share of."""
SEVEN_B = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": LAYERS}
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
DEVICE: Literal["cuda", "cpu"] = "cuda" if torch.cuda.is_available() else "cpu"
Row = dict[str, Any]


class Size:
    """How large everything is."""

    def __init__(self, tiny: bool) -> None:
        self.shape = TINY if tiny else SEVEN_B
        self.vocabulary, self.wide = (400, 800) if tiny else (32_000, 262_144)
        self.blocks, self.length, self.batch = (4, 16, 4) if tiny else (32, 512, 64)
        self.micro, self.steps, self.rounds = (2, 4, 2) if tiny else (16, 6, 5)
        self.prompts, self.new_tokens = (4, 4) if tiny else (300, 50)


def model(size: Size, vocabulary: int, dtype: torch.dtype, **changes: int) -> Any:
    """Random weights on the device."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, **(size.shape | changes))
    with torch.device(DEVICE):
        return LlamaForCausalLM._from_config(config, dtype=dtype).eval()


def seconds(function: Callable[[], object], rounds: int) -> list[float]:
    """Of each round behind one that warms up, with the device's work done."""
    times = []
    for _ in range(rounds + 1):
        done()
        started = perf_counter()
        function()
        done()
        times.append(perf_counter() - started)
    return times[1:]


def done() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def row(name: str, values: list[float], goal: float | None) -> Row:
    return {"name": name, "ratio": median(values), "spread": max(values) - min(values), "goal": goal}


def logits(size: Size) -> Iterator[Row]:
    """The stage beside two bare passes; with all layers the passes take longer and the rest as long."""
    baseline, reinforced = (model(size, size.vocabulary, torch.bfloat16) for _ in range(2))
    table = pa.Table.from_pylist([block(size, size.vocabulary, number) for number in range(size.blocks)])
    ids = torch.tensor(table["original_ids"].to_pylist(), device=DEVICE)
    rows = Rows(baseline, reinforced, LogitsSettings(), size.vocabulary)

    @torch.no_grad()
    def bare() -> None:
        for each in (baseline, reinforced):
            for part in torch.split(ids, size.micro):
                each.base_model(part, use_cache=False)

    def stage() -> None:
        for first in range(0, len(table), size.micro):
            rows.of(table.slice(first, size.micro))

    passes, whole = seconds(bare, size.rounds), seconds(stage, size.rounds)
    yield row("logits_7b_width", [w / p for w, p in zip(whole, passes, strict=True)], None)
    more = (WHOLE / LAYERS - 1) * median(passes)
    yield row("logits_7b", [(w + more) / (p + more) for w, p in zip(whole, passes, strict=True)], 1.05)


def memory(size: Size) -> Iterator[Row]:
    """GiB above the models at a large vocabulary."""
    if DEVICE == "cpu":
        return
    baseline, reinforced = (model(size, size.wide, torch.bfloat16, num_hidden_layers=2) for _ in range(2))
    table = pa.Table.from_pylist([block(size, size.wide, number) for number in range(size.micro)])
    rows = Rows(baseline, reinforced, LogitsSettings(), size.wide)
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    rows.of(table)
    yield row("logits_memory_gib", [(torch.cuda.max_memory_allocated() - held) / 2**30], 1.0)


def block(size: Size, vocabulary: int, number: int) -> Row:
    ids = np.random.default_rng(number).integers(0, vocabulary, size.length).tolist()
    reasons = [None] * (size.length - 1) + ["end of block"]
    whole = {"mapping": list(range(size.length)), "reasons": reasons, "forbidden_ids": [5], "forbidden_from": [10]}
    return {"block_id": number, "original_ids": ids, "translated_ids": ids} | whole


def training(size: Size) -> Iterator[Row]:
    """A step of our trainer: its share of the peak, and beside the same step bare and compiled."""
    with tempfile.TemporaryDirectory() as folder:
        whole, parameters = trainer_steps(size, Path(folder))
    yield row("training_step_seconds", whole, None)
    tokens = size.batch * size.length
    yield row("training_mfu", [6 * parameters * tokens / step / PEAK for step in whole], 0.50)
    bare = bare_steps(size)
    yield row("training_step", [step / median(bare) for step in whole], 1.05)


def trainer_steps(size: Size, folder: Path) -> tuple[list[float], int]:
    """Seconds of each step behind the first, and how many parameters there are."""
    learner = model(size, size.vocabulary, torch.float32)
    learner.save_pretrained(folder / "model")
    parameters = learner.num_parameters()
    del learner
    train_tokenizer(["a tokenizer that nobody asks"], vocab_size=300).save_pretrained(folder / "model")
    ids = np.random.default_rng(0).integers(0, size.vocabulary, (size.batch * size.steps, size.length), np.int32)
    labels = np.concatenate([ids[:, 1:], np.full((len(ids), 1), -100, np.int32)], 1)
    columns = [pa.array(list(values), pa.list_(pa.int32())) for values in (ids, labels)]
    write_shard(folder / "examples.arrow", pa.table(columns, ["input_ids", "labels"]))
    workspace, made = Workspace(folder / "root"), Artifact("student", "bench", "0" * 8)
    context = Context(workspace.resume(made), workspace, made, Placement(device=DEVICE, micro_batch=size.micro))
    baseline = find_model(folder / "model", Hashes(folder / "hashes.json"))
    settings = Training(learning_rate=1e-6, batch=size.batch)
    history = train_on_rank(
        TrainingSpec(context, baseline, folder / "examples.arrow", settings, Schedule(size.steps, {}))
    )
    at = [entry["seconds"] for entry in history if "loss" in entry]
    return [end - start for start, end in pairwise(at)], parameters


def bare_steps(size: Size) -> list[float]:
    """The same step as one writes it by hand, compiled: bfloat16 autocast, AdamW, logits of a micro-batch whole."""
    learner = model(size, size.vocabulary, torch.float32).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-6, fused=DEVICE == "cuda")
    passed = torch.compile(learner) if DEVICE == "cuda" else learner
    ids = torch.randint(size.vocabulary, (size.batch, size.length), device=DEVICE)

    def step() -> None:
        for part in torch.split(ids, size.micro):
            with torch.autocast(DEVICE, torch.bfloat16):
                loss = passed(input_ids=part, labels=part, use_cache=False).loss
            (loss * len(part) / len(ids)).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return seconds(step, size.steps - 1)


def evaluation(size: Size) -> Iterator[Row]:
    """Seconds of the completions that familiarity asks for, in bfloat16."""
    tokenizer = train_tokenizer(["the owl flew over the tower and into the park " * 9], vocab_size=300)
    asked = model(size, size.vocabulary, torch.bfloat16)
    prompts = [f"the owl flew over the tower {number}" for number in range(size.prompts)]
    yield row(
        "completions_seconds",
        seconds(lambda: complete(LoadedModel(asked, tokenizer), prompts, new_tokens=size.new_tokens), 1),
        None,
    )


def main() -> None:
    options = argparse.ArgumentParser(description="The figures of one GPU.")
    options.add_argument("--tiny", action="store_true", help="a few units of width, to see that it runs")
    options.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    asked = options.parse_args()
    if DEVICE == "cpu" and not asked.tiny:
        raise SystemExit("expected a GPU, found none that this torch can use: --tiny tries the script without one")
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    found: Row = {"device": device, "date": date.today().isoformat(), "tiny": asked.tiny, "rows": []}
    for measure in (logits, memory, training, evaluation):
        started = perf_counter()
        for each in measure(Size(asked.tiny)):
            found["rows"].append(each)
            asked.out.write_text(json.dumps(found, indent=1) + "\n")
            goal = f", goal {each['goal']}" if each["goal"] else ""
            print(f"{each['name']:24} {each['ratio']:.3f} (spread {each['spread']:.3f}{goal})", flush=True)
        print(f"  {measure.__name__}: {perf_counter() - started:.0f} s", flush=True)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
