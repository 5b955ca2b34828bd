"""The audit on its own page and in the report: numbers, curves, items, and what is said where none was made."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifact import Artifact
from storage.reader import Row, reader
from storage.workspace import Workspace
from tasks.audit.page import exhibits, figures, heads, table
from tasks.audit.summary import audit_summary
from tasks.contents import ABLATION_PAGE as ABLATION
from tasks.contents import AUDIT_EVIDENCE, AUDIT_ITEMS, AUDIT_PAGE
from tasks.drawing.numbers import signed
from tasks.measure.results import final, measured
from tasks.measure.rows import Item, mean_of, write_measures
from tasks.report.evidence import ReportInputs
from tasks.report.items import next_tokens
from tasks.report.stage import drawn, latest_audit_and_ablation


@pytest.fixture
def found(made_up_run: tuple[Workspace, ReportInputs], audited: Artifact) -> Row:
    read: Row = json.loads((made_up_run[0].path(audited) / AUDIT_EVIDENCE).read_text(encoding="utf-8"))
    return read


def test_every_value_has_its_interval_and_its_items(
    found: Row, made_up_run: tuple[Workspace, ReportInputs], audited: Artifact
) -> None:
    for measure in found["measures"]:
        for value in measure["values"].values():
            assert value["low"] < value["value"] < value["high"], measure
            assert value["items"] == 30
    assert heads(found) == {"baseline": "baseline", "model": "step 40", "gold": "gold"}
    items = json.loads((made_up_run[0].path(audited) / AUDIT_ITEMS).read_text(encoding="utf-8"))
    assert {row["anchor"] for row in table(found)} == {group["anchor"] for group in items}
    by_name = {group["name"]: group for group in items}
    taught = by_name["relearned familiarity target"]
    assert taught["conditions"] == ["0", "5", "20"]
    assert taught["total"] == 30
    first = taught["items"][0]
    assert first["item"] == 29, "what the audited model shows most comes first"
    assert {answer["model"]: len(answer["scores"]) for answer in first["answers"]} == {
        "baseline": 3,
        "step 40": 3,
        "gold": 3,
    }
    assert by_name["verbatim rouge l target"]["items"][0]["answers"][0]["completion"]


def test_the_audited_model_is_compared_with_its_references_item_by_item(found: Row) -> None:
    changes = {measure["metric"]: measure["changes"] for measure in found["measures"]}
    same = changes["verbatim_rouge_l"]
    assert same["gold"]["difference"] == pytest.approx(0.3)
    assert same["baseline"]["difference"] == pytest.approx(-0.5)
    assert same["baseline"]["low"] <= same["baseline"]["difference"] <= same["baseline"]["high"]
    assert changes["neighbour_perplexity"] == {}, "a perplexity is no mean of its items"
    assert any(
        change.startswith(f"against baseline: {signed(-0.5)}") for row in table(found) for _, change in row["cells"]
    )


def test_curves_are_drawn_for_what_was_measured_and_nothing_else(found: Row) -> None:
    captions = [caption for _, caption in figures(found)]
    assert [caption.split(":")[0] for caption in captions] == [
        "Relearning on some of the text to be forgotten",
        "Relearning on related text",
        "Rounding",
    ]
    found["measures"] = [measure for measure in found["measures"] if measure["attack"] == "verbatim"]
    assert figures(found) == []


def test_depth_is_drawn_by_both_ways_of_reading_a_layer(found: Row) -> None:
    taught = [measure for measure in found["measures"] if measure["metric"] == "relearned_familiarity"][:2]
    found["measures"] = [
        measure | {"attack": "depth", "metric": metric, "task": f"layer {layer}"}
        for metric in ("lens_readable", "patched_log_probability")
        for layer, measure in enumerate(taught, start=1)
    ]
    shown, given = (caption for _, caption in figures(found))
    assert "shows, with" in shown
    assert "replaced by another model's" in given


def test_the_page_is_whole_and_escapes_what_models_said(
    made_up_run: tuple[Workspace, ReportInputs], audited: Artifact, outline: type
) -> None:
    text = (made_up_run[0].path(audited) / AUDIT_PAGE).read_text(encoding="utf-8")
    assert not outline(text).open
    assert "script" not in outline(text).tags
    assert text.count("&lt;script&gt;") > 10
    links = {link.removeprefix("#") for link in outline(text).references if not link.startswith("data:")}
    assert links <= set(outline(text).ids)
    assert "Not made: needs generic text." in text
    body, annex = text.split("Annex: overlap of words")
    assert "rouge" not in body.lower(), "it tells too little to stand among the others"
    assert "verbatim rouge l" in annex


def test_a_report_finds_the_audit_of_its_step_alone(
    made_up_run: tuple[Workspace, ReportInputs], audited: Artifact
) -> None:
    workspace, made = made_up_run
    assert latest_audit_and_ablation(workspace, made.student, 40) == {"audit": audited}
    assert latest_audit_and_ablation(workspace, made.student, 20) == {}
    assert latest_audit_and_ablation(workspace, Artifact("student", "tale", "f" * 16), 40) == {}


def test_the_report_shows_the_audit_and_what_it_left_out(
    made_up_run: tuple[Workspace, ReportInputs], audited: Artifact, outline: type
) -> None:
    workspace, made = made_up_run
    evidence, text = drawn(workspace, replace(made, audit=audited))
    assert outline(text).open == []
    assert len(set(outline(text).ids)) == len(outline(text).ids)
    assert outline(text).tags.count("svg") == 8 + 3
    assert evidence["headlines"][0].startswith("The model shows less of the text than before, but it still shows some")
    judged = {verdict["name"]: verdict["status"] for verdict in evidence["forgotten"]}
    assert judged == {
        "familiarity, probability": "gone",
        "familiarity, completion": "gone",
        "familiarity, extraction strength": "reduced",
        "familiarity, probability of its own words": "reduced",
    }, "the audit's measures count, too"
    assert "Extraction strength 31.4 % (baseline 81.5 %, gold 1.5 %)." in evidence["headlines"][0]
    assert evidence["audit"]["headline"].replace(" %", "\u202f%") in text
    assert "No audit of this model was made" not in text
    untested = " ".join(evidence["untested"])
    assert "Relearning:" not in untested
    assert "Questions about the text:" in untested, "this audit asked none"
    assert "Relearning on unrelated text: Not made: needs generic text." in untested
    assert "No audit of this model was made" in drawn(workspace, made)[1]


def test_next_tokens_are_marked_by_what_they_begin(made_up_run: tuple[Workspace, ReportInputs]) -> None:
    workspace, made = made_up_run
    with reader() as connection:
        models, measures = measured(connection, [(e.fingerprint, workspace.path(e)) for e in made.evaluations])
        student = final(models)
        assert student
        items = next_tokens(connection, measures, models, student)
    assert len(items) == 3
    for item in items:
        assert [answer["model"] for answer in item["answers"]] == ["baseline", "step 20", "step 40", "gold"]
        for answer in item["answers"]:
            assert [mark for _, _, mark in answer["tokens"]] == ["anchor", "", "translation"]


def test_the_report_has_a_section_for_an_ablation_of_the_same_lessons(
    made_up_run: tuple[Workspace, ReportInputs], made_up_ablation: Artifact, outline: type
) -> None:
    workspace, made = made_up_run
    assert latest_audit_and_ablation(workspace, made.student, 20) == {"ablation": made_up_ablation}
    text = drawn(workspace, replace(made, ablation=made_up_ablation))[1]
    assert "ablation" in outline(text).ids
    assert "That both parts are needed is not shown here" not in text
    assert "Both parts are needed" in text
    assert "ablation" not in outline(drawn(workspace, made)[1]).ids


@pytest.mark.slow
def test_a_browser_has_nothing_to_complain_about(
    made_up_run: tuple[Workspace, ReportInputs],
    audited: Artifact,
    made_up_ablation: Artifact,
    tmp_path: Path,
    console: Callable[[Path], list[str]],
) -> None:
    workspace, made = made_up_run
    whole = tmp_path / "report.html"
    text = drawn(workspace, replace(made, audit=audited, ablation=made_up_ablation))[1]
    whole.write_text(text, encoding="utf-8")
    alone = [workspace.path(audited) / AUDIT_PAGE, workspace.path(made_up_ablation) / ABLATION]
    for shown in (whole, *alone):
        assert not re.search(r"https?://|@import|url\((?!#)", shown.read_text(encoding="utf-8"))
        assert console(shown) == []


def test_a_passage_that_was_cut_for_each_model_is_shown_as_it_was_for_the_audited_one(tmp_path: Path) -> None:
    folders = [tmp_path / role for role in ("baseline", "student", "gold")]
    for folder in folders:
        items = [Item(0, f"cut for the {folder.name}", "rest", "rest", 0.5), Item(1, "", "", "", 0.1)]
        folder.mkdir()
        step = 4 if folder.name == "student" else None
        write_measures(folder, folder.name, step, [mean_of("extraction_strength", items, "target")])
    (group,) = exhibits(folders, audit_summary(folders))
    assert group["items"][0]["prompt"] == "cut for the student"
    assert [answer["model"] for answer in group["items"][0]["answers"]] == ["baseline", "step 4", "gold"]
