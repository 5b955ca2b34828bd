"""Stages before the path: the demo makes what a user would bring, a text and a model that knows it too well.

Gold never reads the target; it shares the tokenizer with the baseline, so that both can be compared token by token.
"""

import json
from typing import Literal

from storage.artifact import Artifact
from tasks.contents import MODEL
from tasks.demo.pretrain import PretrainSettings
from tasks.engine.stage import Context, Counts, stage

TOKENIZER = "tokenizer"
TARGET_REPEATS = 3  # how often the baseline's texts hold the target, as popular books are read more than once


@stage("world", version=2)
def world(context: Context, seed: int) -> Counts:
    """Write a generated world and a tokenizer trained on all of it."""
    from tasks.demo.pretrain import train_tokenizer
    from tasks.demo.world import make_world, write_world

    generated = make_world(seed)
    write_world(generated, context.folder)
    train_tokenizer([*generated.generic, *generated.target.values()]).save_pretrained(context.folder / TOKENIZER)
    return {"stories": len(generated.generic), "chapters": len(generated.target), "prompts": len(generated.prompts)}


@stage("pretrain", version=1, heavy=True)
def pretrain(
    context: Context, world: Artifact, role: Literal["baseline", "gold"], settings: PretrainSettings
) -> Counts:
    """Train a tiny Llama from nothing: the baseline reads generic text and target, gold the generic text alone."""
    from tasks.demo.pretrain import pretrain as train
    from tasks.models import load_tokenizer, tokenizer_files

    folder = context.path(world)
    texts = [json.loads(line)["text"] for line in (folder / "generic.jsonl").open(encoding="utf-8")]
    if role == "baseline":
        target = [path.read_text(encoding="utf-8") for path in sorted((folder / "target").glob("*.txt"))]
        texts += TARGET_REPEATS * target
    tokenizer = load_tokenizer(tokenizer_files(folder / TOKENIZER, context.workspace.hashes))
    train(context.folder / MODEL, tokenizer, texts, settings, context.progress)
    return {"texts": len(texts), "steps": settings.steps}
