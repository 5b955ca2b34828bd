"""gold: a control that never read the text: trained on the text to retain alone, from fresh weights or a given model.

No part of the paper's method. What a model that never read the target scores is what unlearning should approach; who
has the rest of the training text can make one.
"""

import shutil
from pathlib import Path

from storage.artifact import Artifact
from storage.shards import read_shard
from tasks.contents import RETAINED
from tasks.engine.stage import Context, Counts, stage
from tasks.models import Model, load_tokenizer, quiet_transformers
from tasks.training.ranks import train
from tasks.training.settings import GoldSettings, Schedule, TrainingSpec, steps_of_epochs


@stage("gold", version=1, heavy=True)
def gold(context: Context, retained: Artifact, baseline: Model, start: Model | None, settings: GoldSettings) -> Counts:
    """Write the control to steps/last, as an ordinary Hugging Face directory. Without `start` its weights are fresh,
    in the baseline's shape."""
    data, fresh = context.path(retained) / RETAINED, context.folder / "fresh"
    blocks = len(read_shard(data))
    steps = steps_of_epochs(blocks, settings.epochs, settings.batch)
    first = start or fresh_model(fresh, baseline, settings.seed)
    history = train(TrainingSpec(context, first, data, settings, Schedule(steps, {steps: "last"})))
    shutil.rmtree(fresh, ignore_errors=True)
    return {"steps": steps, "blocks": blocks, "loss": round(history[-2]["loss"], 4)}


def fresh_model(folder: Path, shape: Model, seed: int) -> Model:
    """A model of this shape whose weights were drawn by the seed, in `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(shape.path), dtype=torch.float32)
    model.save_pretrained(folder)
    load_tokenizer(shape.tokenizer).save_pretrained(folder)
    return Model(str(folder), "", shape.tokenizer)
