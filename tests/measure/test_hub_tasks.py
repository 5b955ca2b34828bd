"""lm-eval's own tasks by name: their real definitions on made-up questions in the hub's form, and no hub at all."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from flows.inputs import resolve
from flows.job import read_job
from storage.errors import BadInput
from tasks.evaluation import is_task_name
from tasks.measure.benchmarks import by_benchmarks, fetch
from tasks.measure.hub_tasks import OWN, own_name, own_task
from tasks.measure.loaded import LoadedModel

LETTERS = {"text": ["an owl", "a ball", "the park"], "label": ["A", "B", "C"]}
HUB = {  # one question each, with the columns that the hub's data sets have
    "allenai/ai2_arc": {"question": "What flew?", "choices": LETTERS, "answerKey": "A"},
    "aps/super_glue": {"passage": "The owl flew.", "question": "did the owl fly", "label": 1},
    "Rowan/hellaswag": {
        "ctx_a": "The girl saw.", "ctx_b": "the ball", "activity_label": "Play", "label": "2",
        "endings": ["was red.", "flew.", "was in the tree.", "ran."],
    },
    "allenai/openbookqa": {"question_stem": "A castle is", "choices": LETTERS, "answerKey": "B"},
    "baber/piqa": {"goal": "To see", "sol1": "open the eyes", "sol2": "shut the eyes", "label": 0},
    "allenai/winogrande": {
        "sentence": "The ball was in the tree, so _ was happy.", "option1": "the owl", "option2": "the girl",
        "answer": "2",
    },
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_dataset` gives four copies of the question, numbered, in every split."""

    def load(path: str, name: str | None = None, **_: Any) -> datasets.DatasetDict:
        row = HUB[path]
        text = next(key for key in ("question", "ctx_a", "question_stem", "goal", "sentence") if key in row)
        table = datasets.Dataset.from_list([row | {text: f"{number} {row[text]}"} for number in range(4)])
        return datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), table))

    monkeypatch.setattr(datasets, "load_dataset", load)


def test_the_paper_s_seven_are_asked_as_lm_eval_defines_them(hub: None, model: Any, tokenizer: Any) -> None:
    found = by_benchmarks(LoadedModel(model, tokenizer), [], names=tuple(OWN), limit=3)
    assert [measured.task for measured in found] == list(OWN)
    for measured in found:
        assert measured.metric == "accuracy"
        assert measured.count == 3
    items = {measured.task: measured.items[0] for measured in found}
    assert re.fullmatch(r"Question: \d What flew\?\nAnswer:", items["arc_easy"].prompt)
    assert items["arc_challenge"].expected.strip() == "an owl"
    assert items["boolq"].expected.strip() == "yes"
    assert items["hellaswag"].expected.strip() == "was in the tree."
    assert items["openbookqa"].expected.strip() == "a ball"


def test_a_local_copy_of_the_questions_is_the_same_measure_under_the_same_name(
    hub: None, model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    rows = [{"query": f"Question: {n} What flew?", "choices": LETTERS["text"], "gold": 0} for n in range(4)]
    (tmp_path / "ARC-Easy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (local,) = by_benchmarks(LoadedModel(model, tokenizer), [tmp_path / "ARC-Easy.jsonl"])
    (named,) = by_benchmarks(LoadedModel(model, tokenizer), [], names=["arc_easy"])
    assert (local.task, local.value) == (named.task, named.value)
    for mine, theirs in zip(local.items, named.items, strict=True):
        assert (mine.prompt, mine.expected) == (theirs.prompt, theirs.expected)
        assert mine.details["log_likelihoods"] == pytest.approx(theirs.details["log_likelihoods"])
    with pytest.raises(BadInput, match="Two benchmarks are called 'arc_easy'"):
        by_benchmarks(LoadedModel(model, tokenizer), [tmp_path / "ARC-Easy.jsonl"], names=["arc_easy"])


def test_without_the_hub_it_is_said_what_to_do() -> None:
    with pytest.raises(
        BadInput, match=r"arc_easy, piqa from the Hugging Face hub, but it cannot be reached.*local files"
    ):
        fetch(("arc_easy", "piqa"))


@pytest.mark.parametrize(
    ("file", "name"),
    [("arc_easy", "arc_easy"), ("ARC-Challenge", "arc_challenge"), ("winogrande_xl", "winogrande"),
     ("obqa", "openbookqa"), ("My-Quiz", "My-Quiz"), ("BoolQ", "boolq")],
)  # fmt: skip
def test_files_of_the_seven_are_reported_under_lm_eval_s_names(file: str, name: str) -> None:
    assert own_name(file) == name


def test_a_name_needs_no_path_and_a_path_is_no_name(
    make_job: Callable[..., Path], direct_run: Callable[..., Any], tmp_path: Path
) -> None:
    file = make_job(extra='evaluation.benchmarks = ["piqa", "quiz.jsonl", "toxigen"]\n')
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"query": "a", "choices": ["b", "c"], "gold": 0}) + "\n")
    job = read_job(file, [])
    assert job.evaluation.benchmarks == ("piqa", str(tmp_path / "quiz.jsonl"), "toxigen")
    evidence = resolve(job, direct_run().workspace.hashes).evidence
    assert evidence.tasks == ("piqa", "toxigen")
    assert evidence.benchmarks is not None
    assert not is_task_name("quiz.jsonl")
    with pytest.raises(BadInput, match=r"lm-eval's tasks \(arc_challenge, .*found 'no_such_task'"):
        own_task("no_such_task")


def test_the_material_s_files_bear_lm_eval_s_names(material: Path) -> None:
    files = sorted((material / "benchmarks").glob("*.jsonl"))
    assert {own_name(file.stem) for file in files} <= set(OWN)
