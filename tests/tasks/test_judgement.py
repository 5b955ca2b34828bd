"""Completions judged through the real client by a server on loopback: what is asked, kept, and said in the report."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.cli.outcomes import summary
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline
from storage.artifact import Artifact
from storage.errors import BadInput, Unanswered
from storage.reader import reader
from storage.shards import read_shard, write_shard
from tasks.engine.runner import Run
from tasks.judgement import METRIC, JudgeSettings, judgement
from tasks.measure.results import measured
from tasks.measure.rubric import rubric_hash

KEY = "sk-never-to-be-seen-0123456789"


class Judge:
    """The server: `says(material, attempt)` is its answer, or (status, words)."""

    def __init__(self) -> None:
        self.says: Callable[[dict[str, Any], int], Any] = lambda material, attempt: "GRADE: 0"
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""

    def reply(self, headers: Any, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        material = json.loads(request["messages"][-1]["content"])
        attempt = self.asked.count(material)
        self.asked.append(material)
        self.keys.add(headers["Authorization"])
        said = self.says(material, attempt)
        if isinstance(said, tuple):
            return said[0], {"error": {"message": said[1]}}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


class Handler(BaseHTTPRequestHandler):
    judge: Judge

    def do_POST(self) -> None:
        status, body = self.judge.reply(self.headers, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    found = Judge()
    monkeypatch.setenv("TEST_KEY", KEY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Handler,), {"judge": found}))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def settings(judge: Judge, **changes: Any) -> JudgeSettings:
    endpoint = {
        "base_url": judge.url,
        "key_variable": "TEST_KEY",
        "requests_per_minute": 60000,
        "retries": 2,
        "backoff_seconds": 0.01,
    }
    return JudgeSettings(**{"model": "m", "subject": "the tale of Mira", "endpoint": endpoint} | changes)


def an_evaluation(run: Run, role: str = "baseline", words: str = "went to Tessaly", count: int = 6) -> Artifact:
    """A finished evaluation with completions "0 went to Tessaly", "1 went ..."."""
    made = Artifact("evaluation", "tale", f"{abs(hash((role, words, count))):016x}"[:16])
    folder = run.workspace.partial(made)
    folder.mkdir(parents=True)
    who = {"model": role, "step": None, "metric": "familiarity_completion", "task": ""}
    details = json.dumps({"references": ["Mira"]})
    items = [
        who
        | {
            "item": n,
            "prompt": f"Mira {n}",
            "expected": "x",
            "completion": f"{n} {words}",
            "score": 0.0,
            "details": details,
        }
        for n in range(count)
    ]
    write_shard(folder / "evaluation_items.parquet", items)
    write_shard(folder / "evaluations.parquet", [who | {"value": 0.0, "stderr": 0.0, "items": count}])
    described = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.1, "holds_protected_text": True}
    run.workspace.commit(made, described)
    return made


def judged(run: Run, made: Artifact) -> tuple[float, list[dict[str, Any]]]:
    folder = run.workspace.path(made)
    (row,) = read_shard(folder / "evaluations.parquet").to_pylist()
    assert row["metric"] == METRIC
    return row["value"], read_shard(folder / "evaluation_items.parquet").to_pylist()


def test_every_completion_is_graded_once_and_the_score_is_the_paper_s(judge: Judge, direct_run: Any) -> None:
    run = direct_run()
    grades = [3, 2, 1, 0, 3, 0]
    judge.says = lambda material, attempt: f"Because.\nGRADE: {grades[int(material['continuation'][0])]}"
    made = run(judgement, an_evaluation(run), settings(judge), rubric_hash())
    value, items = judged(run, made)
    assert value == (5 * 2 + 1) / 6
    assert [json.loads(item["details"])["grade"] for item in items] == grades
    assert json.loads(items[0]["details"])["judge"] == "m"
    assert len(judge.asked) == 6
    assert judge.asked[0]["subject"] == "the tale of Mira"
    assert judge.asked[0]["already mentioned"] == ["Mira"]
    assert judge.keys == {f"Bearer {KEY}"}


def test_a_known_answer_is_not_asked_for_again(judge: Judge, direct_run: Any) -> None:
    run = direct_run()
    evaluated = an_evaluation(run)
    run(judgement, evaluated, settings(judge), rubric_hash())
    again = run(judgement, an_evaluation(run, "student"), settings(judge), rubric_hash())
    assert len(judge.asked) == 6  # another model with the same completions
    assert run.workspace.record(again)["counts"]["asked"] == 0
    run(judgement, an_evaluation(run, count=8), settings(judge), rubric_hash())
    assert len(judge.asked) == 8  # two new completions
    run(judgement, evaluated, settings(judge, model="another"), rubric_hash())
    assert len(judge.asked) == 14  # another judge is asked everything
    run(judgement, evaluated, settings(judge), "other words")
    assert len(judge.asked) == 20  # and so is another rubric


def test_where_the_judge_is_and_how_fast_it_is_asked_is_no_part_of_the_address(judge: Judge) -> None:
    here, there = settings(judge), settings(judge, endpoint={"base_url": "http://elsewhere/v1", "concurrency": 1})
    assert judgement.artifact("x", {"judge": here}) == judgement.artifact("x", {"judge": there})
    assert judgement.artifact("x", {"judge": here}) != judgement.artifact("x", {"judge": settings(judge, subject="y")})


def test_faults_that_pass_are_retried_and_answers_without_a_grade_are_counted(judge: Judge, direct_run: Any) -> None:
    run = direct_run()

    def says(material: dict[str, Any], attempt: int) -> Any:
        number = int(material["continuation"][0])
        if number == 1 and attempt == 0:
            return 500, "busy"
        return "I will not grade this." if number == 2 else "GRADE: 2"

    judge.says = says
    evaluated = an_evaluation(run)
    with pytest.raises(Unanswered, match=r"95% of 6 completions, found 5"):
        run(judgement, evaluated, settings(judge), rubric_hash())
    assert len(judge.asked) == 7
    made = run(judgement, evaluated, settings(judge, share=0.5), rubric_hash())
    assert len(judge.asked) == 8  # only the one without a grade
    value, items = judged(run, made)
    assert (value, items[2]["score"]) == (1.0, None)
    assert "will not" in json.loads(items[2]["details"])["answer"]


def test_a_refused_key_is_said_at_once_and_never_shown(judge: Judge, direct_run: Any) -> None:
    run = direct_run()
    judge.says = lambda material, attempt: (401, f"Incorrect key {KEY}")
    with pytest.raises(Unanswered, match=r"does not answer.*\[key\]") as refused:
        run(judgement, an_evaluation(run, count=9), settings(judge), rubric_hash())
    assert KEY not in str(refused.value)
    assert len(judge.asked) < 9 * 3


def test_a_missing_key_and_a_key_in_the_settings_are_refused(
    direct_run: Any, make_job: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = direct_run()
    job = read_job(make_job(), ["judge.model=m", f"judge.endpoint.key_variable={KEY}"])
    with pytest.raises(BadInput, match=r"judge\.endpoint\.key_variable") as refused:
        resolve(job, run.workspace.hashes)
    assert KEY not in str(refused.value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Unanswered, match=r"judge\.endpoint\.key_block"):
        run(judgement, an_evaluation(run), JudgeSettings(model="m"), rubric_hash())


@pytest.mark.slow
def test_the_report_says_who_judged_and_nothing_holds_the_key(
    judge: Judge, direct_run: Any, make_job: Callable[..., Path]
) -> None:
    run = direct_run()
    endpoint = f'judge.endpoint={{base_url="{judge.url}",key_variable="TEST_KEY",requests_per_minute=60000}}'
    job = read_job(make_job(), ["judge.model=grader-9", endpoint, "student.steps=2", "student.keep=[]"])
    judge.says = lambda material, attempt: f"You sent {KEY}. GRADE: 3"
    outcome = pipeline(job, resolve(job, run.workspace.hashes), run)
    found = summary(outcome, run.workspace)
    assert found["baseline"][METRIC] == found["unlearned"][METRIC] == 5.0
    assert set(found["unlearned"]) >= {"familiarity_probability", "familiarity_completion", "benchmarks"}
    report = run.workspace.path(outcome.report)
    assert json.loads((report / "evidence.json").read_text())["judge"]["model"] == "grader-9"
    assert "the language model grader-9 graded" in (report / "report.html").read_text()
    files = [file for file in run.workspace.root.rglob("*") if file.is_file()]
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    with reader() as connection:
        folders = [(one.fingerprint, run.workspace.path(one)) for one in outcome.evaluations]
        models, measures = measured(connection, folders)
    assert [model.key for model in models] == ["baseline", "step 2"]
    graded = next(measure for measure in measures if measure.metric == METRIC)
    assert not graded.share
    assert ("step 2", "baseline") in graded.changes


def test_another_machine_asks_only_for_what_one_left_unanswered(
    judge: Judge, direct_run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "one"))
    run = direct_run(url)
    evaluated = an_evaluation(run)
    judge.says = lambda material, attempt: (401, "no") if material["continuation"].startswith("5") else "GRADE: 3"
    with pytest.raises(Unanswered):
        run(judgement, evaluated, settings(judge, endpoint=one_at_a_time(judge)), rubric_hash())
    assert len(judge.asked) == 6
    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "two"))
    judge.says = lambda material, attempt: "GRADE: 3"
    run = direct_run(url)
    value, _ = judged(run, run(judgement, evaluated, settings(judge), rubric_hash()))
    assert len(judge.asked) == 7
    assert value == 5.0


def test_what_a_kill_tore_costs_one_answer_and_a_line_separator_none(judge: Judge, direct_run: Any) -> None:
    run = direct_run()
    evaluated, patient = an_evaluation(run), settings(judge, endpoint=one_at_a_time(judge))
    judge.says = lambda material, attempt: (
        (401, "no") if material["continuation"].startswith("5") else "So\u2028it is, \u00e9.\nGRADE: 3"
    )
    with pytest.raises(Unanswered):
        run(judgement, evaluated, patient, rubric_hash())
    (answers,) = run.workspace.root.glob("judgement/*/*.jsonl")
    whole = answers.read_bytes()
    answers.write_bytes(whole[: whole.rindex("\u00e9".encode()) + 1])  # in the midst of a letter
    judge.says = lambda material, attempt: "GRADE: 3"
    run(judgement, evaluated, patient, rubric_hash())
    assert len(judge.asked) == 6 + 2
    (answers,) = run.workspace.root.glob("judgement/*/*.jsonl")
    kept = [line for line in answers.read_bytes().split(b"\n") if line.endswith(b"}")]
    assert len({json.loads(line)["question"] for line in kept}) == 6


def one_at_a_time(judge: Judge) -> dict[str, Any]:
    return settings(judge).endpoint.model_dump() | {"concurrency": 1}
