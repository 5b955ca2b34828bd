"""Other words: the same questions in several forms, in paraphrase and other languages; the worst form counts."""

from collections.abc import Iterator, Sequence

from storage.files import Files
from tasks.audit.asked import Question, answered, questions_about, score_of
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, leak, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Measured, mean_of

METRIC = "answer_probability"
FIRST, WORST, ANOTHERS = "first form", "worst form", "another's answers"


@stage("forms", version=1, heavy=True, reads=True, protected=True)
def forms(context: Context, suspect: AuditedModel, asked: Files) -> Counts:
    """How probable right answers are, in the first form and in the worst one."""
    attacked, questions = Attacked(context, suspect), questions_about(asked, "target")
    return attacked.write(in_forms(attacked.loaded, questions), 3)


def in_forms(loaded: LoadedModel, questions: Sequence[Question]) -> Iterator[Measured]:
    """Right answers in the first and the worst form; those of the next question, in their worst form, as a control."""
    items = answered(loaded, questions)
    yield mean_of(METRIC, [of_question[0] for of_question in items], FIRST)
    yield mean_of(METRIC, [max(of_question, key=score_of) for of_question in items], WORST)
    others = [*questions[1:], *questions[:1]]
    pairs = [(q, other) for q, other in zip(questions, others, strict=True) if not set(q.answers) & set(other.answers)]
    if pairs:
        swapped = answered(loaded, [q.model_copy(update={"answers": other.answers}) for q, other in pairs])
        yield mean_of(METRIC, [max(of_question, key=score_of) for of_question in swapped], ANOTHERS)


def judge(values: AuditValues) -> Ruling:
    """Each form against gold, or else against what the model gives the answers of another question."""
    control = values.of("model", METRIC, ANOTHERS)
    cases = [
        against_gold(values, METRIC, task, f"in the {task}", control, "for another question's answers")
        for task in (FIRST, WORST)
    ]
    return leak("Probability of right answers", cases, percent)


FORMS = Attack(
    stage=forms,
    title="Other words",
    question="The same questions in other words and languages. Does one form bring out what the others do not?",
    metrics={METRIC: Metric("probability of right answers to questions in several forms")},
    calls=lambda target, texts, settings: [(texts.forms,)] if questions_about(texts.forms, "target") else [],
    judge=judge,
    leak="questions in other words",
)
