"""Extraction as a user runs it: killed, with a key that must not be seen, on real answers, to a finished dictionary."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dictionaries.answers import read_answer
from dictionaries.merging import collect_votes, merge
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import draft_dictionary
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.corpus import corpus
from tasks.engine.console import Progress
from tasks.engine.runner import Direct

pytestmark = pytest.mark.slow

KEY = "sk-never-to-be-seen-0123456789"
SET_KEY = f"import os; os.environ['TEST_KEY'] = '{KEY}'\n"
NAMES = ("Mira", "Tessaly", "Grimwater", "Orrin", "ferryman")

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Extract = Callable[..., dict[str, Any]]


def proposals(passage: str) -> str:
    entries = [
        {"anchor": name, "translation": f"New {name[:3]}ey", "kind": "person"} for name in NAMES if name in passage
    ]
    return json.dumps({"entries": entries})


@pytest.fixture
def job(make_job: Callable[..., Path], language_model: Any) -> Path:
    """A job whose dictionary a language model finds, passage by passage of 200 characters."""
    file = make_job(documents=5)
    settings = (
        f'dictionary = {{ extract = "llm", llm = {{ model = "m", characters = 200 }}, endpoint = {{ concurrency = 3, '
        f'base_url = "{language_model.url}", key_variable = "TEST_KEY", requests_per_minute = 60000, '
        "backoff_seconds = 0.01 } }"
    )
    file.write_text(file.read_text().replace('dictionary.curated = ["words.json"]', settings))
    return file


@pytest.fixture
def extracted(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extract:
    """`nepenthe dictionary extract` in this process: the counts of what it made."""
    monkeypatch.setenv("TEST_KEY", KEY)

    def run(*changes: str) -> dict[str, Any]:
        asked, workspace = read_job(job, [f"dictionary.{change}" for change in changes]), Workspace(tmp_path / "ws")
        given = resolve(asked, workspace.hashes)
        making = Direct(workspace, "tiny", asked.placement, Progress(3))
        draft_dictionary(asked, given, making(corpus, given.corpus, "text"), making)
        return {step.artifact.kind: workspace.record(step.artifact)["counts"] for step in making.steps}

    return run


def test_a_killed_extraction_asks_only_for_what_is_missing(
    command: Command, extracted: Extract, job: Path, language_model: Any, tmp_path: Path
) -> None:
    language_model.answer = lambda passage, attempt: proposals(passage)
    kill = """
import os, signal, tasks.llm.client as m
real, calls = m.Client.ask, []
async def ask(self, passage, structured):
    calls.append(passage)
    reply = await real(self, passage, structured)
    if len(calls) >= 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply
m.Client.ask = ask
"""
    killed = command("dictionary", "extract", job, "--root", tmp_path / "ws", patch=SET_KEY + kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    asked_before = len(language_model.passages)
    assert 6 <= asked_before <= 10
    counts = extracted()["answers"]
    assert counts["answered"] == counts["passages"] == len(set(language_model.passages))
    assert len(language_model.passages) <= counts["passages"] + 3  # at most what was under way is asked twice
    with open_tables(Workspace(tmp_path / "ws"), write=False) as tables:
        found = tables.execute("SELECT count(*), count(DISTINCT passage) FROM anchor_answers").fetchone()
    assert found == (counts["passages"], counts["passages"])


def test_a_run_writes_the_key_nowhere_and_waits_for_its_review(
    command: Command, job: Path, language_model: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def answer(passage: str, attempt: int) -> Any:
        if attempt == 0 and len(language_model.requests) % 3 == 1:
            return {"status": 500, "body": {"error": {"message": f"you sent Bearer {KEY}"}}}
        if "part 2" in passage:
            return {"message": {"content": None, "refusal": f"I refuse, {KEY}"}}
        if "part 3" in passage:
            return f'{{"entries": [{{"anchor": "{KEY}", "translation": "{KEY} x", "kind": "term"}}]}}'
        return proposals(passage)

    language_model.answer = answer
    job.write_text(job.read_text().replace('extract = "llm"', 'extract = "llm", review = true'))
    root = tmp_path / "ws"
    ended = command("unlearn", job, "--root", root, "--set", "dictionary.llm.share=0.5", patch=SET_KEY)
    assert language_model.keys == {f"Bearer {KEY}"}
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("nepenthe: the dictionary dictionary/tiny-")
    assert "run the same job again" in ended.stderr
    assert "[key]" in command("sql", "SELECT * FROM anchor_answers", "--root", root, "--json").stdout
    searched = [path for path in tmp_path_factory.getbasetemp().rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in searched), "Prefect's database is among them"
    holding = [path for path in searched if KEY.encode() in path.read_bytes()]
    assert holding == []
    assert KEY not in ended.stderr + ended.stdout


def test_the_real_answers_give_the_known_dictionary(
    extracted: Extract, language_model: Any, material: Path, tmp_path: Path
) -> None:
    """Each of the 380 answers is served about a passage that has its anchors."""
    lines = (material / "dictionaries" / "llm_answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    texts = []
    for number, answer in enumerate(answers):
        anchors = " ; ".join(proposal.anchor for proposal in read_answer(answer).proposals)
        texts.append(f"Passage {number:03d} ; {anchors} ; end.")
    for file in (tmp_path / "corpus").iterdir():
        file.unlink()
    (tmp_path / "corpus" / "all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    language_model.answer = lambda passage, attempt: {"text": answers[int(passage.split()[1])], "usage": None}
    counts = extracted("llm.characters=20000", "llm.reasks=0", "endpoint.concurrency=8")
    assert (counts["answers"]["passages"], counts["answers"]["answered"]) == (380, 375)
    workspace = Workspace(tmp_path / "ws")
    with open_tables(workspace, write=False) as tables:
        rows = tables.execute("SELECT passage, answer FROM anchor_answers WHERE reason IS NULL").fetchall()
    votes = collect_votes((passage, read_answer(answer).proposals) for passage, answer in rows)
    merged, _ = merge(votes)
    assert len({vote.anchor for vote in votes}) == 1676
    assert len(merged) == 1599
    assert sum(len(entry.translations) > 1 for entry in merged.entries) == 462
    assert counts["dictionary"]["anchors"] > 1590  # folded and made consistent: the lint found no error
