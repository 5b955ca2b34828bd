"""reinforce: the baseline trained further on the target corpus, so that what the target feeds rises."""

from storage.artifact import Artifact
from storage.errors import BadInput
from tasks.contents import answers_of, documents_of, write_examples
from tasks.engine.stage import Context, Counts, stage
from tasks.method.tokens import cut_blocks
from tasks.models import Model, load_tokenizer
from tasks.training.ranks import train
from tasks.training.settings import ReinforceSettings, Schedule, TrainingSpec, steps_of_epochs


@stage("reinforce", version=3, heavy=True, protected=True)
def reinforce(context: Context, corpus: Artifact, baseline: Model, settings: ReinforceSettings) -> Counts:
    """Write the reinforced model to steps/last, as an ordinary Hugging Face directory."""
    data = context.folder / "examples.arrow"
    tokenizer, answers = load_tokenizer(baseline.tokenizer), answers_of(context.path(corpus))
    blocks = cut_blocks(tokenizer, documents_of(context.path(corpus)), settings.length)
    count, _ = write_examples(data, ((tokens.ids, tokens.within(answers[number])) for number, _, tokens in blocks))
    if count == 0:
        raise BadInput("expected documents of at least two tokens to reinforce on, found none")
    steps = steps_of_epochs(count, settings.epochs, settings.batch)
    history = train(TrainingSpec(context, baseline, data, settings, Schedule(steps, {steps: "last"})))
    data.unlink()
    return {"steps": steps, "blocks": count, "loss": round(history[-2]["loss"], 4)}
