"""lm-eval on local files against an argmax over log-likelihoods in a plain loop."""

import json
import random
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.errors import BadInput
from tasks.evaluation import task_files
from tasks.measure.benchmarks import by_benchmarks
from tasks.measure.familiarity import complete
from tasks.measure.loaded import LoadedModel
from tasks.measure.questions import read_questions
from tasks.measure.rows import Measured

WORDS = ["owl", "ball", "tower", "girl", "tree", "park", "story", "castle", "mother", "seven keys", "help"]


def choice_rows(count: int = 12) -> list[dict[str, Any]]:
    chance = random.Random(1)
    rows = []
    for number in range(count):
        choices = chance.sample(WORDS, 2 + number % 3)
        rows.append({"query": f"{number} The girl saw the", "choices": choices, "gold": number % 2})
    return rows


def context_rows(count: int = 8) -> list[dict[str, Any]]:
    chance = random.Random(2)
    return [
        {
            "context_options": [f"The {word} was" for word in chance.sample(WORDS, 2)],
            "continuation": f"very happy {number}",
            "gold": number % 2,
        }
        for number in range(count)
    ]


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def log_likelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """A plain loop, with BOS in front and without the EOS that the tokenizer puts behind every text."""
    before = [0, *tokenizer(context, add_special_tokens=False).input_ids]
    total, ids = 0.0, before
    for token in tokenizer(continuation, add_special_tokens=False).input_ids:
        with torch.no_grad():
            total += float(model.eval()(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)[token])
        ids = [*ids, token]
    return total


def best(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def measure(model: Any, tokenizer: Any, *paths: Path, batch_size: int = 16, **options: Any) -> Measured:
    (measured,) = by_benchmarks(LoadedModel(model, tokenizer, batch_size), paths, **options)
    return measured


def test_choices_equal_a_plain_argmax(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = choice_rows()
    measured = measure(model, tokenizer, jsonl(tmp_path / "animals.jsonl", rows))
    right = []
    for row, item in zip(rows, measured.items, strict=True):
        values = [log_likelihood(model, tokenizer, row["query"], " " + choice) for choice in row["choices"]]
        assert item.details["log_likelihoods"] == pytest.approx(values, rel=1e-4)
        assert item.completion.strip() == row["choices"][best(values)]
        assert (item.prompt, item.expected.strip()) == (row["query"], row["choices"][row["gold"]])
        right.append(float(best(values) == row["gold"]))
    assert [item.score for item in measured.items] == right
    assert (measured.task, measured.metric, measured.count) == ("animals", "accuracy", len(rows))
    assert measured.value == pytest.approx(sum(right) / len(rows))
    assert 0 < measured.value < 1  # or the test could not tell


def test_contexts_as_choices_equal_a_plain_argmax(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = context_rows()
    measured = measure(model, tokenizer, jsonl(tmp_path / "schemas.jsonl", rows))
    for row, item in zip(rows, measured.items, strict=True):
        ending = " " + row["continuation"]
        values = [log_likelihood(model, tokenizer, context, ending) for context in row["context_options"]]
        assert item.score == float(best(values) == row["gold"])
        assert item.completion == row["context_options"][best(values)]
        assert item.expected == row["context_options"][row["gold"]]


def test_a_task_file_is_read_from_anywhere(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = choice_rows()
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    jsonl(folder / "rows.jsonl", rows)
    (folder / "task.yaml").write_text(
        "task: written\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
        "dataset_kwargs: {data_files: {test: rows.jsonl}}\n"
        'doc_to_text: "{{query}}"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: "{{gold}}"\n'
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n",
        encoding="utf-8",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    by_yaml = measure(model, tokenizer, folder / "task.yaml")
    by_rows = measure(model, tokenizer, folder / "rows.jsonl")
    (folder / "group.yaml").write_text("group: all\ntask: [written]\n", encoding="utf-8")
    assert by_yaml == measure(model, tokenizer, folder / "group.yaml", folder / "task.yaml")
    with pytest.raises(BadInput, match="No benchmark task"):
        measure(model, tokenizer, folder / "group.yaml")
    assert by_yaml.task == "written"
    assert [item.score for item in by_yaml.items] == [item.score for item in by_rows.items]
    assert list(elsewhere.iterdir()) == []


def test_questions_that_end_with_the_question_ask_for_the_answer(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"query": f"Question: who is {end}", "choices": ["a", " b"], "gold": 0} for end in ("x?", "y? Answer:")]
    prompts = [item.prompt for item in measure(model, tokenizer, jsonl(tmp_path / "q.jsonl", rows)).items]
    assert prompts == ["Question: who is x?\nAnswer:", "Question: who is y? Answer:"]


def test_limit_draws_the_same_questions_every_time(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "animals.jsonl", choice_rows())
    whole = measure(model, tokenizer, path)
    some = measure(model, tokenizer, path, limit=5, seed=3)
    assert some == measure(model, tokenizer, path, limit=5, seed=3)
    numbers = [item.item for item in some.items]
    assert numbers != [item.item for item in measure(model, tokenizer, path, limit=5, seed=4).items]
    assert numbers == sorted(set(numbers))
    assert [item.prompt for item in some.items] == [whole.items[number].prompt for number in numbers]
    assert measure(model, tokenizer, path, limit=100).count == whole.count


def test_batch_and_padding_change_nothing(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    path = jsonl(tmp_path / "animals.jsonl", choice_rows())
    one, many = (measure(model, tokenizer, path, batch_size=size) for size in (1, 8))
    for alone, together in zip(one.items, many.items, strict=True):
        assert together.details["log_likelihoods"] == pytest.approx(alone.details["log_likelihoods"], rel=1e-4)


def test_silent_offline_and_without_a_trace(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a benchmark reached for the network")

    path = jsonl(tmp_path / "animals.jsonl", choice_rows(3))
    size, state = len(tokenizer), torch.get_rng_state()
    random.seed(7)
    expected = random.Random(7).random()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    model.train()
    measure(model, tokenizer, path)
    assert tuple(capfd.readouterr()) == ("", "")
    assert model.training
    model.eval()
    assert random.random() == expected
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(tokenizer), tokenizer.pad_token) == (size, None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "a", "choices": ["b", "c"], "gold": 2}], "line 1: gold is 2"),
        ([choice_rows()[0], {"query": "a", "choices": ["b"]}], "line 2: expected"),
        ([{"query": "a", "choices": ["b", " "], "gold": 0}], "every choice"),
        ([choice_rows()[0], context_rows()[0]], "mixes"),
        (["text"], "line 1: expected"),
        ([], "is empty"),
    ],
)
def test_a_bad_row_is_named(model: Any, tokenizer: Any, tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        measure(model, tokenizer, jsonl(tmp_path / "bad.jsonl", rows))


def test_a_line_separator_within_a_text_ends_no_row(tmp_path: Path) -> None:
    row = {"query": "One\u2028two\x85?", "choices": ["a", "b"], "gold": 0}
    (tmp_path / "lines.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_questions(tmp_path / "lines.jsonl") == [row]


def test_what_cannot_be_read_or_is_there_twice_is_refused(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"bad\.jsonl must be JSON"):
        measure(model, tokenizer, tmp_path / "bad.jsonl")
    path = jsonl(tmp_path / "animals.jsonl", choice_rows(2))
    with pytest.raises(BadInput, match="Two benchmarks are called 'animals'"):
        by_benchmarks(LoadedModel(model, tokenizer), [path, path])


def test_rows_named_beside_a_folder_of_tasks_are_a_task_too() -> None:
    tasks = [Path("/a/tasks/one.yaml"), Path("/a/tasks/one.jsonl"), Path("/a/tasks/data/one.json")]
    assert task_files([*tasks, Path("/a/own.jsonl")]) == [tasks[0], Path("/a/own.jsonl")]
    assert task_files(tasks[1:]) == tasks[1:]


def test_the_real_files_run_as_they_are(stories: Any, material: Path) -> None:
    measured = by_benchmarks(LoadedModel(*stories), sorted((material / "benchmarks").glob("*.jsonl")), limit=8)
    assert [one.task for one in measured] == ["arc_easy", "boolq", "winogrande"]
    assert [one.count for one in measured] == [8, 8, 8]
    boolq = measured[1].items[0]
    assert boolq.prompt.startswith("Passage:")
    assert boolq.prompt.endswith("?\nAnswer:")
    assert {boolq.expected, boolq.completion} <= {" yes", " no"}


def test_a_measured_model_can_still_be_trained(stories: Any, tmp_path: Path) -> None:
    model, tokenizer = stories  # its embedding and its head are one matrix
    by_benchmarks(LoadedModel(model, tokenizer), [jsonl(tmp_path / "animals.jsonl", choice_rows(2))])
    complete(LoadedModel(model, tokenizer), ["Once upon a time"], new_tokens=4)
    ids = torch.tensor([tokenizer("Once upon a time there was a girl").input_ids])
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert float(model.lm_head.weight.grad.abs().sum()) > 0
    model.zero_grad()
