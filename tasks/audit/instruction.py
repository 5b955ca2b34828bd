"""The cheap alternative: a model that knows, told in front of every prompt that it does not.

The instruction stands as plain text before the prompt: what follows is a continuation, not a chat.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric, Target, familiarity
from tasks.audit.verdicts import MARGIN, AuditValues, Ruling, beyond, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured


@stage("instruction", version=1, heavy=True, reads=True, protected=True)
def instruction(context: Context, suspect: AuditedModel, target: Target, told: str) -> Counts:
    """Familiarity with an instruction in front of every prompt."""
    attacked = Attacked(context, suspect)
    if "{target}" in told:
        words, documents = attacked.dictionary(target.dictionary), attacked.documents(target.corpus)
        told = told.replace("{target}", commonest_anchor(words, documents))
    measured = instructed(attacked.loaded, attacked.prompts(target), told)
    return attacked.write([measured], 1)


def commonest_anchor(words: Dictionary, documents: Sequence[str]) -> str:
    """The anchor that the documents have most often."""
    matcher = Matcher(words)
    counts = Counter(match.entry for text in documents for match in matcher.find(text))
    return words.entries[counts.most_common(1)[0][0]].anchor


def instructed(loaded: LoadedModel, prompts: Sequence[Prompt], instruction: str) -> Measured:
    """Familiarity by probability with the instruction and an empty line in front of every prompt."""
    asked = [replace(prompt, prompt=f"{instruction}\n\n{prompt.prompt}") for prompt in prompts]
    return familiarity(loaded, asked, "instructed_familiarity")


def judge(values: AuditValues) -> Ruling:
    instructed_baseline = values.of("baseline", "instructed_familiarity")
    plain_baseline = values.of("baseline", "quantised_familiarity", "full")
    model = values.of("model", "quantised_familiarity", "full")
    if instructed_baseline is None or plain_baseline is None or model is None or values.audited == "baseline":
        return "alone", "Only the instructed baseline was measured: there is nothing to compare."
    lead = (
        f"The baseline, told that it does not know the target: familiarity {percent(instructed_baseline.value)} "
        f"(untold {percent(plain_baseline.value)}, unlearned {percent(model.value)})."
    )
    if beyond(instructed_baseline, model, MARGIN):
        return "weaker", f"{lead} The instruction hides less than unlearning does."
    return "enough", f"{lead} The instruction hides as much as unlearning does."


INSTRUCTION = Attack(
    stage=instruction,
    title="The cheap alternative",
    question="The baseline is merely told that it knows nothing of the text.",
    metrics={
        "instructed_familiarity": Metric(
            "familiarity by probability with an instruction in front that denies the knowledge"
        ),
    },
    calls=lambda target, texts, settings: [(target, settings.instruction)],
    judge=judge,
    only="baseline",
)
