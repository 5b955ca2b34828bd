"""`nepenthe init`: a published suite as a job that can be planned. Data sets are small ones in the published form."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import exit_code
from flows.inputs import resolve
from flows.job import Job, read_job
from flows.suite import SuiteRequest, resolve_suite
from flows.unlearn import plan
from storage.errors import BadInput
from storage.workspace import Workspace

COMMIT = "1" * 40
SHORT = ("blocks.length=64", "reinforce.length=64", "corpus.elicit.tokens=40")  # the tiny model reads 128
Init = Callable[..., Job]


@pytest.fixture
def init(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Init:
    """The job that `nepenthe init` writes for the tiny model, after `plan` has taken it."""

    def run(suite: str, *options: str) -> Job:
        job = tmp_path / "jobs" / "job.toml"
        job.parent.mkdir()
        place = ["--model", str(tiny_model), "--job", str(job), "--root", str(tmp_path / "ws")]
        monkeypatch.setattr(sys, "argv", ["nepenthe", "init", suite, *options, *place])
        assert exit_code() == 0
        workspace, read = Workspace(tmp_path / "ws"), read_job(job, list(SHORT))
        assert plan(read, resolve(read, workspace.hashes), workspace)
        return read

    return run


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def tofu(folder: Path) -> Path:
    for name, person in (("forget05", "Mira Vance"), ("retain95", "Anna"), ("holdout05", "Tom"), ("forget10", "Orrin")):
        row = {"question": f"Who has the oar of {person}?", "answer": f"{person} has it."}
        (folder / f"{name}.json").write_text(json.dumps(row) + "\n")
    return folder


@pytest.mark.parametrize("there", ["job.toml", "job-forget.jsonl"])
def test_no_file_of_the_user_s_is_written_over(
    there: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / there).write_text("mine")
    arguments = ["rwku", "--model", str(tiny_model), "--job", str(tmp_path / "job.toml"), "--part", "1_Stephen_King"]
    monkeypatch.setattr(sys, "argv", ["nepenthe", "init", *arguments, "--root", str(tmp_path / "ws")])
    assert exit_code() == 2
    assert f"expected a new file, found {tmp_path / there}" in capsys.readouterr().err
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize(
    ("suite", "options", "said"),
    [
        ("rwku", ("--model", "nowhere", "--part", "1_Stephen_King"), "--model: expected a directory, or owner/name"),
        ("muse-books", ("--model", "some/model", "--part", "forget01"), "--part: expected none, as MUSE"),
    ],
)
def test_what_would_be_refused_later_is_refused_before_a_job_is_written(
    suite: str,
    options: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = ["--job", str(tmp_path / "job.toml"), "--data", str(tmp_path), "--root", str(tmp_path / "ws")]
    monkeypatch.setattr(sys, "argv", ["nepenthe", "init", suite, *options, *places])
    assert exit_code() == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "job.toml").exists()


def test_a_muse_folder_becomes_a_job(
    init: Init, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MUSE-News" / "raw"
    for split in ("forget", "retain1", "holdout"):
        parquet(raw / f"{split}-00000-of-00001.parquet", [{"text": f"About {split} in Tessaly."}])
    read = init("muse-news", "--data", str(raw.parent))
    assert read.corpus.paths == (str(raw / "forget-00000-of-00001.parquet"),)
    assert (read.preset, read.student.retain, read.audit.nonmembers) == ("durable", 0.5, read.evaluation.heldout)
    assert exit_code() == 2  # it is never written over
    assert "expected a new file" in capsys.readouterr().err


def test_tofu_in_the_hub_s_cache_becomes_a_job_that_any_machine_can_read(
    init: Init, in_hub_cache: Callable[[str], Path]
) -> None:
    snapshot = in_hub_cache("datasets--locuslab--TOFU") / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    tofu(snapshot)
    read = init("tofu", "--part", "forget05")
    assert read.corpus.paths == (f"locuslab/TOFU@{COMMIT}:forget05.json",)
    assert read.retain.paths == (f"locuslab/TOFU@{COMMIT}:retain95.json",)
    assert read.evaluation.heldout == read.audit.nonmembers == (f"locuslab/TOFU@{COMMIT}:holdout05.json",)
    assert (read.corpus.train_on, read.dictionary.extract) == ("answers", "statistics")


def test_rwku_s_passages_of_one_person_become_a_job(init: Init, tmp_path: Path) -> None:
    rows = [{"subject": person, "text": f"{person} walked to Tessaly."} for person in ("Mira", "Orrin")]
    parquet(tmp_path / "RWKU" / "train_original_passage" / "train-00000-of-00001.parquet", rows)
    read = init("rwku", "--data", str(tmp_path / "RWKU"), "--part", "Mira")
    (path,) = map(Path, read.corpus.paths)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:1]


def test_rwku_without_passages_asks_the_model_itself(init: Init, tmp_path: Path) -> None:
    (tmp_path / "RWKU").mkdir()
    read = init("rwku", "--data", str(tmp_path / "RWKU"), "--part", 'Mira "the oar" Vance')
    assert (read.corpus.paths, read.corpus.elicit.subject) == ((), 'Mira "the oar" Vance')


def test_a_suite_s_questions_are_found_in_the_hub_s_cache(
    in_hub_cache: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    snapshot = in_hub_cache("datasets--jinzhuoran--RWKU") / "snapshots" / COMMIT
    parquet(
        snapshot / "forget_level1" / "test-00000-of-00001.parquet",
        [{"query": "Mira ___ to Tessaly", "answer": "walked", "subject": "Mira"}],
    )
    hashes = Workspace(tmp_path / "ws").hashes
    for data in ("", "jinzhuoran/RWKU", f"jinzhuoran/RWKU@{COMMIT}"):
        request = SuiteRequest(suite="rwku", model=str(tiny_model), data=data)
        assert resolve_suite(request, hashes)[1]["forget_level1"].source == f"jinzhuoran/RWKU@{COMMIT}"
    for suite, data, name in (("tofu", "", "locuslab/TOFU"), ("rwku", "some/body@v2", "some/body@v2")):
        request = SuiteRequest(suite=suite, model=str(tiny_model), data=data)
        with pytest.raises(BadInput, match=f"--data: expected .* {name}, .* nothing whole in {tmp_path}"):
            resolve_suite(request, hashes)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["tufo"], "expected one of the suites tofu, muse-books"),
        (["tofu", "--part", "forget20"], "--part: expected one of forget01"),
        (["tofu"], "--data: expected retain90, split train"),
        (["rwku"], "--part: expected the subject to forget"),
        (["muse-books", "--data", "there/is/nothing"], "--data: expected a folder"),
    ],
)
def test_what_cannot_become_a_job_is_refused_in_one_sentence(
    options: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tofu(tmp_path))
    monkeypatch.setattr(sys, "argv", ["nepenthe", "init", *options[:1], "--model", "a/b", "--data", ".", *options[1:]])
    assert exit_code() == 2
    assert sentence in capsys.readouterr().err
    assert not Path("job.toml").exists()
