"""The audit's measures on one page: which attack makes them, what a value is, what stands in the column `task`.

Names here are those of the tables' column `metric`. Lower is better for all but `neighbour_perplexity` and
`quantised_perplexity`, where the baseline's value is best.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of the audit. `share`: the value is a share, shown in percent."""

    attack: str
    meaning: str
    task: str
    share: bool = True


METRICS = {
    "verbatim_rouge_l": Metric(
        "verbatim", "ROUGE-L F1 of the greedy continuation of a passage against the true one", "target or control"
    ),
    "verbatim_run": Metric(
        "verbatim", "longest run of words that continuation and truth have in common", "target or control", share=False
    ),
    "extraction_strength": Metric(
        "extraction", "1 - the shortest share of a passage that makes greedy decoding say the rest", "target or control"
    ),
    "question_accuracy": Metric(
        "questions", "cloze questions answered right, anchors of the same kind to choose from", "zero-shot or hints"
    ),
    "question_chance": Metric("questions", "what a guess among the choices gets right", ""),
    "membership_auc": Metric(
        "membership", "chance that a target passage scores above a passage that was not trained on", "the score"
    ),
    "relearned_familiarity": Metric(
        "relearning", "familiarity by probability after finetuning", "text and number of steps, as in 'target 20'"
    ),
    "quantised_familiarity": Metric(
        "quantisation", "familiarity by probability with rounded weights", "form of the weights, as in '4 bits'"
    ),
    "quantised_perplexity": Metric(
        "quantisation", "perplexity on held-out text with rounded weights", "form of the weights", share=False
    ),
    "neighbour_perplexity": Metric("side-effects", "perplexity on text near the target", "", share=False),
    "instructed_familiarity": Metric(
        "instruction", "familiarity by probability with an instruction in front that denies the knowledge", ""
    ),
    "translation_share": Metric(
        "translations", "completions that say a translation which their prompt does not hold", ""
    ),
}
