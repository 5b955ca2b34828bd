# ruff: noqa: RUF001
"""nepenthe dictionary: what a person sees and decides, without a server."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dictionaries.answers import read_answer
from dictionaries.merging import collect_votes, merge
from flows.cli import exit_code
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import make_target
from storage.errors import AwaitsReview, BadInput
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.contents import dictionary_of
from tasks.engine.console import Progress
from tasks.engine.runner import Direct

Say = Callable[..., Any]
STATISTICS = 'dictionary = { extract = "statistics", review = true }'


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run `nepenthe dictionary ...` on the test's workspace: what it prints as JSON, or its one sentence of refusal."""

    def run(*words: str | Path, code: int = 0) -> Any:
        root = ["--root", str(tmp_path / "ws"), "--json"]
        monkeypatch.setattr(sys, "argv", ["nepenthe", "dictionary", *map(str, words), *root])
        assert exit_code() == code
        said = capsys.readouterr()
        return json.loads(said.out) if code == 0 else said.err

    return run


@pytest.fixture
def job(make_job: Callable[..., Path]) -> Path:
    """A job without a curated dictionary whose anchors are found by statistics and reviewed by a person."""
    file = make_job()
    file.write_text(file.read_text().replace('dictionary.curated = ["words.json"]', STATISTICS))
    return file


def words_of(job: Path, root: Path) -> Any:
    """The job's dictionary as the flow gets it, in a run without Prefect."""
    asked, workspace = read_job(job, []), Workspace(root)
    given = resolve(asked, workspace.hashes)
    run = Direct(workspace, "tiny", asked.placement, Progress(4))
    return make_target(asked, given, run).dictionary, run


def decide(table: Path, decisions: dict[str, tuple[str, str]]) -> None:
    """Fill in (decision, translation) by anchor; an empty translation stays as it is."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        decision, translation = decisions.get(row["anchor"], ("", ""))
        row["decision"], row["translation"] = decision, translation or row["translation"]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_run_waits_for_the_review_and_goes_on_with_what_was_decided(say: Say, job: Path, tmp_path: Path) -> None:
    with pytest.raises(
        AwaitsReview, match=r"awaits a review \(6 entries are undecided, 0 more are proposed\).*run the same job again"
    ):
        words_of(job, tmp_path / "ws")
    table = tmp_path / "review.csv"
    assert say("export", table)["entries"] == 6
    decide(table, {"Tessaly": ("change", "Newport"), "Vance": ("reject", ""), "Mira": ("approve", "")})
    assert say("import", table, "--by", "Ann")["undecided"] == 3
    with pytest.raises(AwaitsReview, match="3 entries are undecided"):
        words_of(job, tmp_path / "ws")
    assert say("import", "--approve-rest", "--by", "Ben")["undecided"] == 0
    made, run = words_of(job, tmp_path / "ws")
    entries = {entry.anchor: entry.translations for entry in dictionary_of(run.workspace.path(made)).entries}
    assert entries["Tessaly"] == ("Newport",)
    assert sorted(entries) == ["Grimwater", "Mira", "Mira Vance", "Orrin", "Tessaly"]
    with open_tables(run.workspace, write=False) as tables:
        rows = tables.execute(
            "SELECT anchor, reason, decided_by FROM anchor_decisions WHERE decided_at > '2026' ORDER BY ALL"
        ).fetchall()
        anchors = tables.execute("SELECT count(*) FROM anchors WHERE artifact = ?", [made.fingerprint]).fetchone()
    assert rows == [
        ("Grimwater", "approve", "Ben"),
        ("Mira", "approve", "Ann"),
        ("Mira Vance", "approve", "Ben"),
        ("Orrin", "approve", "Ben"),
        ("Tessaly", "change", "Ann"),
        ("Vance", "reject", "Ann"),
    ]
    assert anchors == (5,)


def test_who_approved_and_when_makes_no_other_dictionary(say: Say, job: Path, tmp_path: Path) -> None:
    found = []
    for reviewer in ("Ann", "Ben"):
        say("extract", job)
        say("import", "--approve-rest", "--by", reviewer)
        found.append(words_of(job, tmp_path / "ws")[0])
        (file,) = (tmp_path / "ws" / "reviews").iterdir()
        file.unlink()
    assert found[0] == found[1]


def test_a_review_that_leaves_an_error_is_refused(say: Say, job: Path, tmp_path: Path) -> None:
    say("extract", job)
    say("export", tmp_path / "review.csv")
    decide(tmp_path / "review.csv", {"Tessaly": ("change", "Orrin")})
    assert "'Tessaly' would break a rule (translation is an anchor)" in say("import", tmp_path / "review.csv", code=2)
    assert not (tmp_path / "ws" / "reviews").exists()
    assert "found neither" in say("import", code=2)


def test_what_statistics_propose_is_used_once_the_table_approves_it(say: Say, job: Path, tmp_path: Path) -> None:
    castle = "Then the King met Mira near the harbour. So the King said to Mira Vance that the King ate bread."
    (tmp_path / "corpus" / "castle.txt").write_text(f"{castle} And Mira told the King: {castle}")
    say("extract", job)
    table, made = tmp_path / "review.csv", []
    assert "King" not in {entry["anchor"] for entry in say("show")["entries"]}
    rows = say("export", table)["entries"]
    for decision in ("reject", "approve", ""):
        decide(table, {"King": (decision, "")})
        assert say("import", table)["undecided"] == (rows - 1 if not made else 0)
        say("import", "--approve-rest", "--by", "Ann")
        words, run = words_of(job, tmp_path / "ws")
        made.append(words)
        entries = {entry.anchor: entry for entry in dictionary_of(run.workspace.path(words)).entries}
        assert ("King" in entries) == (len(made) > 1)
    assert made[0] != made[1] == made[2]
    (kept,) = (tmp_path / "ws" / "reviews").iterdir()
    kept.unlink()
    say("import", "--approve-rest", "--by", "Ben")
    assert words_of(job, tmp_path / "ws")[0] == made[0]  # a rejected proposal changes nothing


def test_extract_finds_show_shows_and_curated_entries_stand_as_written(say: Say, job: Path, tmp_path: Path) -> None:
    changes = 'dictionary={extract="statistics", curated=["words.json"]}'
    made = say("extract", job, "--set", changes, "--out", tmp_path / "made.json")
    assert made["counts"]["dictionary"]["curated"] == 5
    entries = {entry["anchor"]: entry for entry in say("show", tmp_path / "made.json")["entries"]}
    assert entries["Mira"]["translations"] == ["Anna", "Clara"]
    assert entries["Mira"]["provenance"] == "curated"
    assert entries["Vance"]["provenance"] == "statistics"
    assert say("show") == say("show", "tiny") == json.loads((tmp_path / "made.json").read_text())


RUSSIAN = (
    "Утром Гермиона увидела Гарри. Тогда Гарри сказал, что Рон спит. Но Гермиона и Рон пошли за ним к озеру, где Гарри"
)


def test_word_statistics_say_that_they_read_another_language_as_english(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, told in (("", False), (RUSSIAN, True)):
        (tmp_path / "corpus" / "0.txt").write_text(f"{text} {len(text)}\n", "utf-8")
        for file in (tmp_path / "corpus").iterdir() if text else ():
            file.write_text(f"{RUSSIAN} {file.name}\n", "utf-8")
        monkeypatch.setattr(
            sys, "argv", ["nepenthe", "dictionary", "extract", str(job), "--root", str(tmp_path / "ws")]
        )
        assert exit_code() == 0
        assert ("        word statistics read the corpus, which looks like ru" in capsys.readouterr().err) == told


def test_a_job_without_any_source_of_anchors_is_refused(job: Path) -> None:
    with pytest.raises(BadInput, match=r"dictionary\.curated.*dictionary\.extract"):
        resolve(read_job(job, ['dictionary={extract="none"}']), Workspace(job.parent).hashes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('dictionary.endpoint.key_variable="sk-proj-abc123"', "expected the NAME"),
        ('dictionary.endpoint.base_url="http://me:sk-proj-abc123@host/v1"', "without user"),
        ('dictionary.llm.model=""', "name of a language model"),
        ('dictionary.reference=["nowhere"]', "nowhere"),
    ],
)
def test_bad_settings_of_an_extraction_are_refused_and_no_key_is_repeated(job: Path, change: str, words: str) -> None:
    changes = ['dictionary.extract="llm"', 'dictionary.llm.model="m"', change]
    with pytest.raises(BadInput, match=words) as refusal:
        resolve(read_job(job, changes), Workspace(job.parent).hashes)
    assert "sk-proj" not in str(refusal.value)


def test_errors_of_the_lint_stop_the_run_or_go_to_the_report(say: Say, job: Path, tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps({"Mira": "Ann of Tessaly", "Tessaly": "Newport"}))
    changes = ["--set", 'dictionary={curated=["words.json"]}']
    said = say("extract", job, *changes, code=2)
    assert "1 times: translation contains an anchor, for example Mira -> Ann of Tessaly" in said
    assert not list((tmp_path / "ws").glob("dictionary/*"))
    made = say("extract", job, *changes, "--set", 'dictionary.lint_errors="report"')
    assert made["counts"]["dictionary"]["lint"]["translation contains an anchor"] == 1


def test_the_lint_of_the_real_merged_answers_counts_the_known_hazards(say: Say, material: Path, tmp_path: Path) -> None:
    lines = (material / "dictionaries" / "llm_answers.jsonl").read_text().splitlines()
    answers = [read_answer(json.loads(line)) for line in lines]
    made, _ = merge(collect_votes((str(n), a.proposals) for n, a in enumerate(answers) if a.reason is None))
    made.write(tmp_path / "merged.json")
    found = {finding["rule"]: finding for finding in say("lint", tmp_path / "merged.json")}
    counts = {rule: finding["count"] for rule, finding in found.items()}
    assert counts["anchor begins another anchor"] == 116
    assert counts["translation is an anchor"] == 94
    assert counts["translation contains an anchor"] == 263
    assert counts["translated to itself"] == 2
    assert set(found["translated to itself"]) == {"rule", "severity", "count", "examples"}
    assert "translated to itself" in say("lint", tmp_path / "merged.json", "--strict", code=2)


def test_the_plan_says_how_many_requests_and_tokens(job: Path, tmp_path: Path) -> None:
    from flows.cli.outcomes import plan_table
    from flows.plan import cost
    from flows.unlearn import plan

    asked = read_job(job, ['dictionary={extract="llm", llm={model="m", characters=300}}'])
    workspace = Workspace(tmp_path / "ws")
    given = resolve(asked, workspace.hashes)
    rows = cost(plan(asked, given, workspace), asked, given)
    (row,) = (row for row in rows if row["stage"] == "answers")
    assert row["requests"] == 11  # six documents of two passages, of which two begin alike
    assert 11 * 1000 < row["tokens"] < 11 * 1100
    assert f"11 requests to a language model, about {row['tokens']:,} tokens" in plan_table(rows)


def test_a_job_file_means_the_dictionary_that_the_job_would_use(say: Say, job: Path, tmp_path: Path) -> None:
    said = say("show", job, code=2)
    assert f"expected a dictionary of {job} in" in said
    assert f"`nepenthe dictionary extract {job}` makes it" in said
    say("extract", job)
    curated = tmp_path / "curated.toml"
    curated.write_text(job.read_text().replace(STATISTICS, 'dictionary.curated = ["words.json"]'))
    say("extract", curated)  # newer, and of the same name
    shown = {file: {entry["anchor"] for entry in say("show", file)["entries"]} for file in (job, curated)}
    assert shown[curated] == set(json.loads((tmp_path / "words.json").read_text()))
    assert shown[job] != shown[curated]
    assert {finding["rule"] for finding in say("lint", job)} != {finding["rule"] for finding in say("lint", curated)}
    tables = [tmp_path / "job.csv", tmp_path / "curated.csv"]
    exported = [say("export", table, "--dictionary", file) for table, file in zip(tables, (job, curated), strict=True)]
    assert [found["entries"] for found in exported] == [len(shown[job]), len(shown[curated])]
    assert say("import", tables[0], "--dictionary", job, "--approve-rest")["undecided"] == 0


def test_an_export_takes_nobody_s_file(say: Say, job: Path, tmp_path: Path) -> None:
    say("extract", job)
    own = {job: job.read_bytes(), tmp_path / "words.json": (tmp_path / "words.json").read_bytes()}
    for file in own:
        assert "what to export goes behind --dictionary" in say("export", file, code=2)
    say("export", tmp_path / "review.csv")
    decide(tmp_path / "review.csv", {"Tessaly": ("change", "Newport")})
    own[tmp_path / "review.csv"] = (tmp_path / "review.csv").read_bytes()
    assert "which may hold decisions" in say("export", tmp_path / "review.csv", code=2)
    assert own == {file: file.read_bytes() for file in own}


def test_a_reviewed_job_is_shown_as_it_was_reviewed(say: Say, job: Path, tmp_path: Path) -> None:
    say("extract", job)
    say("export", tmp_path / "review.csv", "--dictionary", job)
    decide(tmp_path / "review.csv", {"Tessaly": ("change", "Newport")})
    say("import", tmp_path / "review.csv", "--dictionary", job, "--approve-rest")
    words_of(job, tmp_path / "ws")
    translations = {entry["anchor"]: entry["translations"] for entry in say("show", job)["entries"]}
    assert translations["Tessaly"] == ["Newport"]
