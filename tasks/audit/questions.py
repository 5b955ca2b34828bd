"""Questions about the target: sentences of it with an anchor taken out, and anchors of the same kind to choose from.

A model answers by finding the sentence with one choice in it more probable than with the others; so no model needs to
understand a question. Hints are other sentences of the target, put in front; none of them names the right answer.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from dictionaries.dictionary import Dictionary, canonical
from dictionaries.matching import Match, Matcher
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.settings import Seed, Settings
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, leak, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.measure.rows import Item, Measured, mean_of


class QuestionSettings(Settings):
    """Cloze questions made from the target."""

    count: int = Field(default=100, ge=1)
    """Questions."""
    choices: int = Field(default=4, ge=2)
    """Anchors to choose from, where the dictionary has as many of a kind."""
    hints: int = Field(default=3, ge=0)
    """Sentences of the target in front of a question, in the test with hints."""
    seed: Seed = 0
    """Draws questions and choices."""


@stage("questions", version=1, heavy=True, reads=True, protected=True)
def questions(
    context: Context, suspect: AuditedModel, corpus: Artifact, dictionary: Artifact, settings: QuestionSettings
) -> Counts:
    """Cloze questions about the target, without and with hints."""
    attacked = Attacked(context, suspect)
    asked = cloze_questions(attacked.documents(corpus), attacked.dictionary(dictionary), settings)
    measures = (answered(attacked.loaded, asked, hints=hints) for hints in (False, True))
    return attacked.write([chance_of(asked), *measures], 3)


_SENTENCE = re.compile(r"\S.*?(?:[.!?][\"'\u201d\u2019)]*(?=\s|$)|$)")
LONGEST_SENTENCE = 300  # characters
HINTS_LOOKED_AT = 2000  # sentences that hints are chosen from


@dataclass(frozen=True, slots=True)
class Question:
    """A sentence in two parts around the answer. `choices` holds the answer and is in random order."""

    before: str
    after: str
    answer: str
    choices: tuple[str, ...]
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    matches: tuple[Match, ...]

    @property
    def anchors(self) -> frozenset[int]:
        return frozenset(match.entry for match in self.matches)


def cloze_questions(documents: Sequence[str], dictionary: Dictionary, settings: QuestionSettings) -> list[Question]:
    """Up to `count` questions; sentences that name a second anchor come first, since those can be answered.

    BadInput where no sentence has an anchor with another of its kind to be mistaken for.
    """
    chance = random.Random(settings.seed)
    matcher = Matcher(dictionary)
    texts = dict.fromkeys(sentence for document in documents for sentence in sentences_of(document))
    sentences = [_Sentence(text, tuple(matches)) for text in texts if (matches := matcher.find(text))]
    chance.shuffle(sentences)
    sentences.sort(key=lambda sentence: len(sentence.anchors) < 2)
    hinting = sentences[:HINTS_LOOKED_AT]
    questions: list[Question] = []
    for sentence in sentences:
        if len(questions) == settings.count:
            break
        match = chance.choice(sentence.matches)
        before, answer = sentence.text[: match.start], sentence.text[match.start : match.end]
        others = _rivals(dictionary, match.entry, sentence)
        if not others or not before.strip():
            continue
        choices = [answer, *chance.sample(others, min(settings.choices - 1, len(others)))]
        chance.shuffle(choices)
        given = _hints(sentence, match.entry, hinting, settings.hints)
        questions.append(Question(before, sentence.text[match.end :], answer, tuple(choices), given))
    if not questions:
        raise BadInput("No question can be asked: no sentence has an anchor behind its start with another of its kind.")
    return questions


def sentences_of(document: str) -> list[str]:
    """Sentences of moderate length, each on one line."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", document))
    sentences = (sentence for paragraph in paragraphs for sentence in _SENTENCE.findall(paragraph))
    return [sentence for sentence in sentences if len(sentence) <= LONGEST_SENTENCE]


def _rivals(dictionary: Dictionary, right: int, sentence: _Sentence) -> list[str]:
    """Anchors of the same kind, as far as the dictionary says, that are not right in another way."""
    entries, answer = dictionary.entries, dictionary.entries[right]
    named = {canonical(entries[index].anchor) for index in sentence.anchors}
    alike = (e for e in entries if (e.kind, e.anchor[0].isupper()) == (answer.kind, answer.anchor[0].isupper()))
    return [
        entry.anchor
        for entry in alike
        if not any(name in canonical(entry.anchor) or canonical(entry.anchor) in name for name in named)
    ]


def _hints(sentence: _Sentence, right: int, hinting: Sequence[_Sentence], count: int) -> tuple[str, ...]:
    """Sentences without the answer, those with the most anchors in common first."""
    fit = [hint for hint in hinting if right not in hint.anchors and hint.text != sentence.text]
    fit.sort(key=lambda hint: -len(hint.anchors & sentence.anchors))
    return tuple(hint.text for hint in fit[:count])


def answered(loaded: LoadedModel, questions: Sequence[Question], *, hints: bool) -> Measured:
    """Share of questions whose most probable sentence is the right one; fewer hints where the context is short."""
    from tasks.measure.scoring import encode, token_log_probabilities

    fronts = [_front(loaded, question) if hints else question.before for question in questions]
    texts = [
        front + choice + question.after
        for front, question in zip(fronts, questions, strict=True)
        for choice in question.choices
    ]
    rows = token_log_probabilities(loaded, [text.ids for text in encode(loaded.tokenizer, texts)])
    scores, items = (float(row.double().sum()) for row in rows), []
    for number, (front, question) in enumerate(zip(fronts, questions, strict=True)):
        likelihoods = [next(scores) for _ in question.choices]
        said = question.choices[max(range(len(likelihoods)), key=likelihoods.__getitem__)]
        details = {"choices": list(question.choices), "log_likelihoods": likelihoods}
        prompt = f"{front}___{question.after}"
        items.append(Item(number, prompt, question.answer, said, float(said == question.answer), details))
    return mean_of("question_accuracy", items, "hints" if hints else "zero-shot")


def chance_of(questions: Sequence[Question]) -> Measured:
    """What guessing gets right, on average."""
    items = [
        Item(number, f"{q.before}___{q.after}", q.answer, "", 1 / len(q.choices)) for number, q in enumerate(questions)
    ]
    return mean_of("question_chance", items)


def _front(loaded: LoadedModel, question: Question) -> str:
    """As many hints as the context holds, then the sentence up to the gap."""
    from tasks.measure.scoring import context_length, encode

    limit = context_length(loaded.model)
    longest = max(question.choices, key=len)
    for count in range(len(question.hints), 0, -1):
        front = "\n".join([*question.hints[:count], question.before])
        (whole,) = encode(loaded.tokenizer, [front + longest + question.after])
        if limit is None or len(whole.ids) + len(longest) <= limit:
            return front
    return question.before


def judge(values: AuditValues) -> Ruling:
    chance = values.of("baseline", "question_chance") or values.of("model", "question_chance")
    cases = [
        against_gold(values, "question_accuracy", task, label, chance, "guessing")
        for task, label in (("zero-shot", "without hints"), ("hints", "with hints"))
    ]
    return leak("Questions about the target answered right", cases, percent)


QUESTIONS = Attack(
    stage=questions,
    title="Questions",
    question="Which expression fits into a gap? Without help, and after sentences of the text.",
    metrics={
        "question_accuracy": Metric("cloze questions answered right, anchors of the same kind to choose from"),
        "question_chance": Metric("what a guess among the choices gets right"),
    },
    calls=lambda target, texts, settings: [(target.corpus, target.dictionary, settings.questions)],
    judge=judge,
    untested="Questions about the text: facts asked for directly, with and without hints.",
    leak="questions",
)
