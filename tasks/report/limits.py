"""What a run did not test, found from what it did measure: a page that lists only what went well misleads."""

from collections.abc import Sequence
from typing import Any

from storage.reader import Row
from tasks.measure.results import Measure, Subject

UNAUDITED = (
    "No audit of this model was made: what an adversary gets back by relearning, rounding, questions or recitation is "
    "not known. `nepenthe audit --job JOB.toml` makes it and adds it to this report."
)
# A measure whose name contains the word has tested it.
ATTACKS = (
    ("relearn", "Relearning: how fast the knowledge comes back when the model is trained on some of the text again."),
    ("verbatim", "Verbatim extraction: whether longer passages of the text can be drawn from the model word for word."),
    ("question", "Questions about the text: facts asked for directly, with and without hints."),
    ("membership", "Membership inference: whether one can tell from the model that it was trained on the text."),
    ("quanti", "Quantisation: whether rounding the model to 8 or 4 bits brings the knowledge back."),
    ("neighbour", "Side effects on texts that are near the target (the same genre, the same author)."),
)


def untested(
    measures: Sequence[Measure], models: Sequence[Subject], inputs: dict[str, Any], audit: Row | None = None
) -> list[str]:
    """Sentences, the gravest first. `inputs` are those of an evaluation's record, `audit` an audit's numbers."""
    names = " ".join(f"{measure.metric} {measure.task}" for measure in measures)
    attacked = " ".join(measure["metric"] for measure in audit["measures"]) if audit else ""
    kinds = {measure.kind for measure in measures}
    found = [sentence for word, sentence in ATTACKS if word not in f"{names} {attacked}"]
    found += _left_out(audit) if audit else []
    if "ability" not in kinds:
        found.append("General ability: no benchmark was given.")
    if "perplexity" not in kinds:
        found.append("Perplexity on generic text: no held-out text was given.")
    if all(model.role != "gold" for model in models):
        found.append(
            "Comparison with a model that never read the text: there is none for this job, so what such a model would "
            "score is not known."
        )
    return found + _of_method(names, (inputs.get("evidence") or {}).get("prompts"))


def _left_out(audit: Row) -> list[str]:
    """Parts of attacks that an audit could not make."""
    parts = [verdict for verdict in audit["verdicts"] if verdict["status"] == "not made" and " " in verdict["attack"]]
    return [f"{verdict['attack'].capitalize()}: {verdict['sentence']}" for verdict in parts]


def _of_method(names: str, prompts: str | None) -> list[str]:
    """Limits of the tests that were made."""
    found = []
    if "familiarity_judged" in names:
        found.append("A person's judgement: a language model graded the completions, and its grades were not checked.")
    elif "familiarity_completion" in names:
        found.append(
            "Knowledge in other words: completions are searched for expressions of the dictionary, by a program. A "
            "plot or a style told without them is not seen, and no person or language model judged the completions."
        )
    if "familiarity" in names and not prompts:
        found.append(
            "Prompts from elsewhere: all prompts were cut from the text that the model was trained to forget, each "
            "just before an expression of the dictionary. Prompts written by an adversary, or in another language, "
            "were not tried."
        )
    if "familiarity" in names:
        found.append("Sampling: only the most probable completion of each prompt was looked at, not many random ones.")
    return found
