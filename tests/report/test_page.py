"""The page as a browser and a reader meet it: whole, escaped, asking nobody for anything."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.audit import ATTACKS
from tasks.drawing.numbers import NARROW
from tasks.engine.stage import Context, Placement
from tasks.report.evidence import ReportInputs
from tasks.report.limits import untested
from tasks.report.stage import drawn, markdown_summary, report

Console = Callable[[Path], list[str]]
SECTIONS = ("summary", "results", "audit", "examples", "teaching", "dictionary", "items", "record")


@pytest.fixture
def finished(made_up_run: tuple[Workspace, ReportInputs], tmp_path: Path) -> Path:
    """The folder of a finished report."""
    workspace, made = made_up_run
    context = Context(tmp_path, workspace, Artifact("report", "tiny", "0" * 16), Placement())
    evaluations = list(made.evaluations)
    counts = report.body(
        context, made.corpus, made.dictionary, made.blocks, made.logits, made.labels, made.student, evaluations
    )
    assert counts == {"evaluations": 4, "measures": 5}
    return tmp_path


def test_the_page_is_whole_and_asks_nobody_for_anything(finished: Path, outline: type) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    read = outline(text)
    assert not read.open
    assert set(SECTIONS) <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    links = [link.removeprefix("#") for link in read.references if not link.startswith("data:")]
    assert set(links) <= set(read.ids)  # every reference is a place on this page
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert read.tags.count("svg") == 8


def test_text_of_the_corpus_and_of_models_never_becomes_markup(finished: Path, outline: type) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert "script" not in outline(text).tags
    assert "<b>" not in text  # the name of a benchmark
    assert text.count("&lt;script&gt;") > 10


def test_evidence_holds_every_number_of_the_table(finished: Path) -> None:
    evidence = json.loads((finished / "evidence.json").read_text(encoding="utf-8"))
    assert [model["key"] for model in evidence["models"]] == ["baseline", "step 20", "step 40", "gold"]
    assert evidence["final"] == "step 40"
    assert [verdict["status"] for verdict in evidence["forgotten"]] == ["gone", "gone"]
    assert evidence["positions"]["reasons"] == {"end of block": 30}
    assert {row["kind"] for row in evidence["record"]} >= {"corpus", "reinforce", "student", "evaluation"}
    assert evidence["model"]["parameters"] == 6
    occurrences = {row["anchor"]: row["occurrences"] for row in evidence["dictionary"]}
    assert occurrences == {"Ombria": 30, "Zarnok": 30, "Quux": 0}
    assert [(row["rule"], row["count"]) for row in evidence["lint"]] == [("short anchor", 1234)]
    assert "short anchor" in (finished / "report.html").read_text(encoding="utf-8")


def test_how_far_the_weights_moved_is_said_and_what_rounding_keeps_of_it(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8").replace(NARROW, " ")
    assert "moved by 12.5 % of their length" in page
    assert "keep 57.0 % of that (by layer 41.0 % to 73.0 %)" in page


def test_what_was_not_tested_is_said(finished: Path) -> None:
    text = (finished / "report.html").read_text(encoding="utf-8")
    for missing in ("Relearning", "Quantisation", "Membership", "Verbatim"):
        assert missing in text


def test_an_attack_is_untested_until_an_audit_made_it_whatever_benchmarks_are_called() -> None:
    benchmark = {"metric": "accuracy", "task": "questions of quantities", "kind": "ability"}
    evidence = {"measures": [benchmark], "models": [], "record": [], "audit": None}
    assert {attack.untested for attack in ATTACKS.values()} - set(untested(evidence)) == {""}
    made = evidence | {"audit": {"measures": [{"metric": "question_chance"}], "verdicts": []}}
    assert ATTACKS["questions"].untested not in untested(made)
    assert ATTACKS["quantisation"].untested in untested(made)


def test_the_summary_as_markdown_is_the_table_by_step(finished: Path) -> None:
    lines = markdown_summary(finished).splitlines()
    assert "| step | 0 | 20 | 40 | gold |" in lines
    row = re.compile(r"\| familiarity, completion \| 0\.\d{3} \| 0\.\d{3} \| 0\.000 \| 0\.000 \|")
    assert any(map(row.fullmatch, lines))
    assert any(line.startswith(r"| $\_{sums \<b\>$ |") for line in lines)


def test_a_run_without_evaluations_still_has_a_page(made_up_run: tuple[Workspace, ReportInputs], outline: type) -> None:
    workspace, made = made_up_run
    parts = {name: getattr(made, name) for name in ("corpus", "dictionary", "blocks", "logits", "labels", "student")}
    text = drawn(workspace, ReportInputs(**parts, evaluations=()))[1]
    assert "Nothing was measured that could show forgetting." in text
    assert not outline(text).open


def test_a_run_with_a_baseline_alone_claims_nothing(made_up_run: tuple[Workspace, ReportInputs]) -> None:
    workspace, made = made_up_run
    parts = {name: getattr(made, name) for name in ("corpus", "dictionary", "blocks", "logits", "labels", "student")}
    evidence, text = drawn(workspace, ReportInputs(**parts, evaluations=made.evaluations[:1]))
    assert (evidence["final"], evidence["forgotten"]) == (None, [])
    assert "Nothing was measured that could show forgetting." in text


@pytest.mark.slow
def test_a_browser_has_nothing_to_complain_about(finished: Path, tmp_path: Path, console: Console) -> None:
    # The page forbids every request by its own policy, so an attempt would be an error on the console.
    assert console(finished / "report.html") == []
    text = (finished / "report.html").read_text(encoding="utf-8")
    control = tmp_path / "control.html"
    control.write_text(text.replace("</main>", '<img src="picture.png"><script>1</script></main>'), encoding="utf-8")
    assert len(console(control)) >= 2
