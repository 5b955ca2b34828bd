"""How the logits stage's time falls with workers, and what each shard of it costs.

    python tests/benchmarks/fan_out.py WORKSPACE [WORKERS ...]      (by default 1 2)
    PREFECT_API_URL=http://... python tests/benchmarks/fan_out.py WORKSPACE --ray 1 2

A random model of 8 layers x 512 on the demo's stories, so that a shard is seconds of work; the labels are nonsense and
the work is real. Each worker is a process with one thread.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from prefect import flow

from flows.cli import quiet_engines
from flows.inputs import Inputs, resolve
from flows.job import Job, job_of
from storage.artifact import Artifact
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.blocks import blocks
from tasks.corpus import corpus
from tasks.demo.pretrain import train_tokenizer
from tasks.demo.world import make_world, write_world
from tasks.dictionary import dictionary
from tasks.engine.runner import Plan, Runner, running
from tasks.engine.stage import Placement
from tasks.logits import logits

LAYERS, WIDTH = 8, 512


def given_at(folder: Path) -> tuple[Job, Inputs]:
    """A world, a random model and another near it, and the job on them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not (folder / "world").exists():
        world = make_world(0)
        write_world(world, folder / "world")
        tokenizer = train_tokenizer(list(world.target.values()))
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=8,
        )
        model = LlamaForCausalLM(config)
        for name in ("baseline", "reinforced"):
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += 0.02 * parameter.std() * torch.randn_like(parameter)
    job = job_of(
        {
            "name": "fan",
            "model": str(folder / "baseline"),
            "reinforced": str(folder / "reinforced"),
            "corpus": {"paths": [str(folder / "world" / "target")]},
            "dictionary": {"curated": [str(folder / "world" / "dictionary.json")]},
            "blocks": {"length": 128},
            "logits": {"shard_blocks": 8},
        }
    )
    return job, resolve(job, Workspace(folder / "ws").hashes)


def path(job: Job, given: Inputs, run: Runner) -> Artifact:
    """Up to the logits."""
    documents = run(corpus, given.corpus, "text")
    words = run(dictionary, documents, given.dictionary, None)
    pieces = run(blocks, documents, words, given.baseline.tokenizer, job.blocks)
    return run(logits, pieces, given.baseline, given.reinforced, job.logits.on(job.placement))


@flow(persist_result=False)
def fan_out(job: Job, given: Any, workspace: Workspace, placement: Placement) -> Artifact:
    """The path with so many workers."""
    names = Plan(workspace, job.name)
    path(job, given, names)
    with running(names, placement) as run:
        return path(job, given, run)


def measured(folder: Path, workers: int, ray: str) -> dict[str, Any]:
    """Seconds of the logits stage with so many workers, and the median shard."""
    workspace = Workspace(folder / "ws")
    job, given = given_at(folder)
    for old in workspace.all():
        if old.kind == "logits":
            workspace.remove(old)
    workspace.database.unlink(missing_ok=True)
    placement = Placement(workers=workers, threads=1, device="cpu", ray=ray)
    made = fan_out(job, given, workspace, placement)
    return {"workers": workers, "seconds": workspace.record(made)["seconds"]} | shards(workspace, made)


def shards(workspace: Workspace, made: Artifact) -> dict[str, Any]:
    """What the table `metrics` says of them."""
    query = """SELECT count(*), sum(tokens), median(seconds), sum(seconds) FROM metrics WHERE artifact = ?"""
    with open_tables(workspace, write=False) as tables:
        found = tables.execute(query, [made.fingerprint]).fetchone()
    return dict(zip(("shards", "tokens", "median_shard_seconds", "sum_of_shard_seconds"), found, strict=True))


def main(words: list[str]) -> Iterator[dict[str, Any]]:
    """A line for each number of workers."""
    quiet_engines()
    ray = "local" if "--ray" in words else ""
    folder, *counts = [word for word in words if word != "--ray"]
    for workers in map(int, counts or ("1", "2")):
        started = perf_counter()
        yield measured(Path(folder).absolute(), workers, ray) | {"whole": round(perf_counter() - started, 1)}


if __name__ == "__main__":
    for line in main(sys.argv[1:]):
        print(json.dumps(line))
