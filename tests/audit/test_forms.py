"""Other words: the worst form counts, against what another question's answers get."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BadInput
from storage.files import Files
from tasks.audit.asked import Question, questions_about
from tasks.audit.forms import ANOTHERS, FIRST, WORST, in_forms
from tasks.measure.loaded import LoadedModel
from tasks.measure.verdict import Verdict

Rows = list[dict[str, Any]]


def test_the_form_that_brings_out_most_counts_and_is_the_one_that_is_shown(
    reciter: Any, tokenizer: Any, text: str
) -> None:
    known = text[: text.index("Castle Marrow") - 1]
    questions = [
        Question(forms=("A house that I never saw is called", known), answers=(" Castle Marrow",)),
        Question(forms=("One day a little girl went to", text[: text.index("park") - 1]), answers=(" park",)),
    ]
    measured = {one.task: one for one in in_forms(LoadedModel(reciter, tokenizer), questions)}
    first, worst, anothers = (measured[task] for task in (FIRST, WORST, ANOTHERS))
    assert first.value < 0.1 < 0.5 < worst.value
    assert [item.item for item in worst.items] == [0, 1]
    assert worst.items[0].prompt == known
    assert anothers.value < 0.1, "the reciter does not say the other question's answer"


def test_questions_that_share_their_answer_are_no_control_for_each_other(model: Any, tokenizer: Any) -> None:
    alike = [Question(forms=("He went to",), answers=(" park",)), Question(forms=("She went to",), answers=(" park",))]
    for questions in (alike, alike[:1]):
        tasks = [one.task for one in in_forms(LoadedModel(model, tokenizer), questions)]
        assert tasks == [FIRST, WORST]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[", "Invalid|Expecting"),
        ('{"forms": ["x"]}', "valid array"),
        ('[{"forms": ["x"], "answers": ["y"]}, {"forms": [], "answers": ["y"]}]', r"entry 1\.forms: .*at least 1 item"),
        (
            '[{"forms": ["x"], "answers": ["y"], "about": "cats"}]',
            r"entry 0\.about: .*'target', 'other' or 'neighbour'",
        ),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_place(tmp_path: Path, written: str, said: str) -> None:
    path = tmp_path / "forms.json"
    path.write_text(written)
    with pytest.raises(BadInput, match=rf"questions: expected a list of .*{said}"):
        questions_about(Files((str(path),), "f"), "target")


@pytest.mark.parametrize(
    ("values", "control", "status"),
    [
        ({"student": 0.6, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "most"),
        ({"student": 0.6, "baseline": 0.8, "gold": 0.6}, {"student": 0.1, "baseline": 0.1, "gold": 0.1}, "nothing"),
        ({"student": 0.1, "baseline": 0.8}, {"student": 0.1, "baseline": 0.1}, "nothing"),
        ({"student": 0.6, "baseline": 0.8}, {}, "alone"),
    ],
)
def test_the_worst_form_decides_though_the_first_gives_nothing(
    judged: Callable[..., Verdict],
    rows: Callable[..., Rows],
    values: dict[str, float],
    control: dict[str, float],
    status: str,
) -> None:
    first = dict.fromkeys(values, 0.1) | {"baseline": 0.8}
    asked = rows("answer_probability", FIRST, **first) + rows("answer_probability", WORST, **values)
    asked += rows("answer_probability", ANOTHERS, **control) if control else []
    assert judged(asked, "forms").status == status
