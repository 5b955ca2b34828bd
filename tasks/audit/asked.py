"""Questions in several forms, from a user's file: paraphrases, other languages, a keyword in another matter."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from storage.errors import BadInput
from storage.files import Files
from storage.settings import Settings
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Item


class Question(Settings):
    """What is asked, each form as a text that an answer goes on with."""

    about: Literal["target", "other", "neighbour"] = "target"
    """The text to forget; another matter in which one of its words occurs; something near it."""
    forms: tuple[str, ...] = Field(min_length=1)
    answers: tuple[str, ...] = Field(min_length=1)
    """Right ones. Of the target: those that only its text gives."""


def questions_about(forms: Files | None, *about: str) -> list[Question]:
    """The questions of a file about one of these; none without a file. BadInput for a file of another shape."""
    questions = read_questions(Path(forms.paths[0])) if forms else []
    return [question for question in questions if question.about in about]


def read_questions(path: Path) -> list[Question]:
    """All questions of a file. BadInput for one of another shape, or without any."""
    try:
        questions = TypeAdapter(list[Question]).validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        place = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = f"{path}, entry {'.'.join(map(str, place['loc']))}".removesuffix(", entry ")
        raise BadInput(
            f'questions: expected a list of {{"about", "forms", "answers"}}, found in {where}: {place["msg"]}'
        ) from error
    if not questions:
        raise BadInput(f"questions: expected at least one in {path}, found none")
    return questions


def answered(loaded: LoadedModel, questions: Sequence[Question]) -> list[list[Item]]:
    """Of every question an item a form, scored by the probability of the right answers, under the question's number."""
    from tasks.measure.familiarity import by_probability

    prompts = [Prompt(form, question.answers) for question in questions for form in question.forms]
    items = iter(by_probability(loaded, prompts).items)
    return [[replace(next(items), item=number) for _ in q.forms] for number, q in enumerate(questions)]


def score_of(item: Item) -> float:
    """The probability of the right answers."""
    return item.score or 0.0
