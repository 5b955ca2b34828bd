"""reinforce: the baseline trained further on the target corpus, so that what the target feeds rises."""

import pyarrow as pa

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.shards import shard_writer
from tasks.blocks import cut
from tasks.corpus import documents_of
from tasks.models import Model, load_tokenizer
from tasks.settings import Training, steps_of_epochs
from tasks.stage import Counts, Work, stage

LAST = "steps/last"


class ReinforceSettings(Training):
    """Reinforcement bootstrapping (the paper's section 2). The defaults are the paper's."""

    learning_rate: float = 3e-6
    """Peak learning rate."""
    epochs: float = 3.0
    """Passes over the target corpus. The last batch is filled from a further pass."""
    length: int = 512
    """Tokens of context."""


@stage("reinforce", version=2, heavy=True, protected=True)
def reinforce(work: Work, corpus: Artifact, baseline: Model, settings: ReinforceSettings) -> Counts:
    """Write the reinforced model to steps/last, as an ordinary Hugging Face directory."""
    from tasks.examples import NO_LABEL
    from tasks.training import Course, train

    data = work.folder / "examples.arrow"
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    tokenizer, count = load_tokenizer(baseline.tokenizer), 0
    with shard_writer(data, schema) as write:
        for _, _, tokens in cut(tokenizer, documents_of(work.path(corpus)), settings.length):
            if len(tokens.ids) > 1:  # one token alone has nothing to predict
                write({"input_ids": tokens.ids, "labels": [*tokens.ids[1:], NO_LABEL]})
                count += 1
    if count == 0:
        raise BadInput("expected documents of at least two tokens to reinforce on, found none")
    steps = steps_of_epochs(count, settings.epochs, settings.batch)
    history = train(work, baseline, data, settings, Course(steps, {steps: "last"}))
    data.unlink()
    return {"steps": steps, "blocks": count, "loss": round(history[-2]["loss"], 4)}
