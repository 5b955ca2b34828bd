"""Verbatim continuation: how closely the model goes on with passages of the target as the target does.

ROUGE-L is Lin's (2004), on words in lower case, F1. A text that was never read scores well above 0 too (small words
fall into line by themselves), so a value means something only beside gold or a control text.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import chain

from storage.artifact import Artifact
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric
from tasks.audit.passages import Passage, PassageSettings
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, leak, numbers, percent, plain
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Item, Measured, mean_of
from tasks.texts import Texts


@stage("verbatim", version=1, heavy=True, reads=True, protected=True)
def verbatim(
    context: Context, suspect: AuditedModel, corpus: Artifact, control: Texts | None, settings: PassageSettings
) -> Counts:
    """Verbatim continuation of target passages, and of control passages where there are some."""
    attacked, new = Attacked(context, suspect), settings.tokens - settings.given
    sides = attacked.passages(corpus, control, settings)
    measures = chain.from_iterable(
        continued(attacked.loaded, passages, new_tokens=new, task=task) for task, passages in sides
    )
    return attacked.write(measures, 4 if control else 2)


def continued(
    loaded: LoadedModel, passages: Sequence[Passage], *, new_tokens: int, task: str = "target"
) -> list[Measured]:
    """ROUGE-L F1 and longest common run (in words) of the prompts' greedy continuations against the passages' rests."""
    from tasks.measure.familiarity import complete

    completions = complete(loaded, [passage.prompt for passage in passages], new_tokens)
    overlaps: list[Item] = []
    runs: list[Item] = []
    for number, (passage, said) in enumerate(zip(passages, completions, strict=True)):
        truth, words = words_of(passage.rest), words_of(said)
        run, f1 = longest_run(truth, words), rouge_l(truth, words)
        details = {"document": passage.document, "run": " ".join(run)}
        for rows, score in ((overlaps, f1), (runs, float(len(run)))):
            rows.append(Item(number, passage.prompt, passage.rest, said, score, details))
    return [mean_of("verbatim_rouge_l", overlaps, task), mean_of("verbatim_run", runs, task)]


def words_of(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def rouge_l(truth: Sequence[str], said: Sequence[str]) -> float:
    """F1 of the longest common subsequence; 0 where one of both is empty."""
    if not truth or not said:
        return 0.0
    lengths = [0] * (len(said) + 1)
    for word in truth:
        before = 0
        for place, other in enumerate(said, start=1):
            above = lengths[place]
            lengths[place] = before + 1 if word == other else max(above, lengths[place - 1])
            before = above
    return 2 * lengths[-1] / (len(truth) + len(said))


def longest_run(truth: Sequence[str], said: Sequence[str]) -> list[str]:
    """The longest stretch of words that stands in both; the first of several."""
    run = SequenceMatcher(None, truth, said, autojunk=False).find_longest_match()
    return list(truth[run.a : run.a + run.size])


def judge(values: AuditValues) -> Ruling:
    control = values.of("model", "verbatim_rouge_l", "control")
    case = against_gold(values, "verbatim_rouge_l", "target", "ROUGE-L", control, "text never read")
    runs = against_gold(values, "verbatim_run", "target", "", None, "")
    status, sentence = leak("Going on with passages of the target as the target does", [case], percent)
    return status, f"{sentence} Longest common run, in words:{numbers(runs, plain)}."


VERBATIM = Attack(
    stage=verbatim,
    title="Going on with passages",
    question="It is given the first half of a passage and goes on. How close does it come?",
    metrics={
        "verbatim_rouge_l": Metric("ROUGE-L F1 of the greedy continuation of a passage against the true one"),
        "verbatim_run": Metric("longest run of words that continuation and truth have in common", "mean"),
    },
    calls=lambda target, texts, settings: [(target.corpus, texts.neighbours, settings.passages)],
    judge=judge,
    untested="Verbatim extraction: whether longer passages of the text can be drawn from the model word for word.",
    annex=True,
)
