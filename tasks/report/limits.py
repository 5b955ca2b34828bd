"""What a run did not test, found from what it did measure: a page that lists only what went well misleads."""

from storage.reader import Row
from tasks.audit import ATTACKS

UNAUDITED = (
    "No audit of this model was made: what an adversary gets back by relearning, rounding, questions or recitation is "
    "not known. `nepenthe audit --job JOB.toml` makes it and adds it to this report."
)


def untested(evidence: Row) -> list[str]:
    """Sentences: attacks first, with their parts that an audit could not make, then what the evaluations left out."""
    metrics, kinds = ({measure[name] for measure in evidence["measures"]} for name in ("metric", "kind"))
    audit = evidence["audit"]
    attacked = {measure["metric"] for measure in audit["measures"]} if audit else set()
    sentences = [attack.untested for attack in ATTACKS.values() if not attacked & attack.metrics.keys()]
    parts = [verdict for verdict in audit["verdicts"] if verdict["attack"] not in ATTACKS] if audit else []
    left_out = [f"{part['attack'].capitalize()}: {part['sentence']}" for part in parts if part["status"] == "not made"]
    sentences = [*filter(None, sentences), *left_out]
    if "ability" not in kinds:
        sentences.append("General ability: no benchmark was given.")
    if "perplexity" not in kinds:
        sentences.append("Perplexity on generic text: no held-out text was given.")
    if all(model["role"] != "gold" for model in evidence["models"]):
        sentences.append(
            "Comparison with a model that never read the text: there is none for this job, so what such a model would "
            "score is not known."
        )
    return sentences + _of_method(metrics, _prompts(evidence))


def _prompts(evidence: Row) -> str | None:
    """The fingerprint of the user's prompts; None where they were cut from the corpus."""
    first = {model["evaluation"] for model in evidence["models"][:1]}
    inputs: Row = next((row["inputs"] for row in evidence["record"] if row["fingerprint"] in first), {})
    prompts: str | None = (inputs.get("evidence") or {}).get("prompts")
    return prompts


def _of_method(metrics: set[str], prompts: str | None) -> list[str]:
    """Limits of the tests that were made."""
    limits, familiar = [], any(metric.startswith("familiarity") for metric in metrics)
    if "familiarity_judged" in metrics:
        limits.append("A person's judgement: a language model graded the completions, and its grades were not checked.")
    elif "familiarity_completion" in metrics:
        limits.append(
            "Knowledge in other words: completions are searched for expressions of the dictionary, by a program. A "
            "plot or a style told without them is not seen, and no person or language model judged the completions."
        )
    if familiar and not prompts:
        limits.append(
            "Prompts from elsewhere: all prompts were cut from the text that the model was trained to forget, each "
            "just before an expression of the dictionary. Prompts written by an adversary, or in another language, "
            "were not tried."
        )
    if familiar:
        limits.append("Sampling: only the most probable completion of each prompt was looked at, not many random ones.")
    return limits
