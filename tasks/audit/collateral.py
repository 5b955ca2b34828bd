"""Collateral: questions about something else in which a word of the target occurs, and questions about its neighbours.

Does the model still answer them, and does it put the target's names, or what it was taught instead, where they do not
belong?
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dictionaries.dictionary import Dictionary
from storage.files import Files
from tasks.audit.asked import Question, answered, questions_about, score_of
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric, Target
from tasks.audit.verdicts import MARGIN, AuditValues, Ruling, beyond, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import mentions
from tasks.measure.rows import Item, Measured, mean_of

OTHERS = ("other", "neighbour")
NAMES = {"other": "with one of its words", "neighbour": "about its neighbours"}
SAID = {"answer_missed": "right answers missed", "misplaced_share": "names misplaced"}


@stage("collateral", version=1, heavy=True, reads=True, protected=True)
def collateral(context: Context, suspect: AuditedModel, target: Target, asked: Files) -> Counts:
    """What is missed of right answers, and how often names are misplaced, in the worst form of each question."""
    attacked = Attacked(context, suspect)
    words, tokens = attacked.dictionary(target.dictionary), target.suite.new_tokens
    by_kind = {about: questions for about in OTHERS if (questions := questions_about(asked, about))}

    def measures() -> Iterator[Measured]:
        for about, questions in by_kind.items():
            yield missed(attacked.loaded, questions, about)
            yield misplaced(attacked.loaded, questions, words, tokens, about)

    return attacked.write(measures(), 2 * len(by_kind))


def missed(loaded: LoadedModel, questions: Sequence[Question], about: str) -> Measured:
    """One minus the probability of right answers, in the form in which they are least probable."""
    worst = [min(of_question, key=score_of) for of_question in answered(loaded, questions)]
    return mean_of("answer_missed", [replace(item, score=1 - score_of(item)) for item in worst], about)


def misplaced(
    loaded: LoadedModel, questions: Sequence[Question], words: Dictionary, new_tokens: int, about: str
) -> Measured:
    """Share of questions to which, in some form, an anchor or a translation is said that the form does not hold."""
    from tasks.measure.familiarity import complete

    expressions = list(dict.fromkeys(text for entry in words.entries for text in (entry.anchor, *entry.translations)))
    said = iter(complete(loaded, [form for question in questions for form in question.forms], new_tokens))

    def items() -> Iterator[Item]:
        for number, question in enumerate(questions):
            answers = [(form, next(said)) for form in question.forms]
            wrong = {pair: [text for text in expressions if _is_new(text, *pair)] for pair in answers}
            form, completion = max(answers, key=lambda pair: len(wrong[pair]))
            names = wrong[form, completion]
            expected = " | ".join(question.answers)
            yield Item(number, form, expected, completion, float(bool(names)), {"names": names})

    return mean_of("misplaced_share", list(items()), about)


def _is_new(text: str, form: str, completion: str) -> bool:
    return bool(mentions(completion, text)) and not mentions(form, text)


def judge(values: AuditValues) -> Ruling:
    """Harmed where one of the numbers is above the baseline's beyond chance."""
    said, harmed, compared = [], False, False
    for metric, words in SAID.items():
        for task in values.tasks(metric):
            model, baseline = (values.of(who, metric, task) for who in ("model", "baseline"))
            if model and baseline:
                compared = True
                harmed |= beyond(model, baseline, MARGIN)
                said.append(f"{words} {NAMES[task]} {percent(model.value)} (baseline {percent(baseline.value)})")
    if not compared:
        return "alone", "There is no baseline to compare with."
    lead = f"In the worst form of each question: {'; '.join(said)}."
    return ("harmed", f"{lead} More than the baseline.") if harmed else ("kept", f"{lead} No more than the baseline.")


COLLATERAL = Attack(
    stage=collateral,
    title="Collateral",
    question="Are questions still answered that are not about the text: with one of its words, or about a neighbour?",
    metrics={
        "answer_missed": Metric("one minus the probability of right answers, in the worst form"),
        "misplaced_share": Metric("questions answered with names of the text or what stands for them"),
    },
    calls=lambda target, texts, settings: [(target, texts.forms)] if questions_about(texts.forms, *OTHERS) else [],
    judge=judge,
)
