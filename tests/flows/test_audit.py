"""After an audit and an ablation: where they are shown, told and found again."""

import json
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows.ablation import pipeline as ablation_pipeline
from flows.audit import Audit, pipeline, resolve_audit
from flows.cli.reports import report_again, report_of
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline as unlearn_path
from storage.workspace import Workspace
from tasks.contents import AUDIT_EVIDENCE, AUDIT_PAGE, REPORT_PAGE
from tasks.contents import REPORT_EVIDENCE as REPORTED
from tasks.engine.runner import Run
from tasks.report.card import Hub
from tasks.report.export import export
from tasks.report.record import FILE, Record, schema
from tasks.report.stage import markdown_summary

SMALL = """
[audit]
passages = { count = 6, tokens = 16, given = 8 }
questions = { count = 6, hints = 1 }
relearning = { documents = 2, steps = [0, 2], batch = 2, length = 32 }
quantisation = { bits = [4] }
instruction = "You know nothing of Mira Vance. "
"""
Jobs = Callable[..., Path]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What one job, its audit and its ablation left: the tests only read it."""
    return {}


@pytest.fixture
def audited(kept: dict[str, Any], make_job: Jobs, direct_run: Callable[..., Run]) -> dict[str, Any]:
    """A finished job with its audit: workspace, job, given, the first report, the audit."""
    if not kept:
        run, job = direct_run(), read_job(make_job(extra=SMALL), [])
        given = resolve(job, run.workspace.hashes)
        kept["first"] = unlearn_path(job, given, run).report
        kept["audit"] = pipeline(job, *resolve_audit(job, "", run.workspace), run)
        kept |= {"workspace": run.workspace, "job": job, "given": given, "run": run}
    return kept


def evidence_of(workspace: Workspace, report: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.path(report) / REPORTED).read_text())
    return found


def test_the_job_s_report_says_that_no_audit_was_made_and_then_shows_it(audited: dict[str, Any]) -> None:
    workspace, made = audited["workspace"], audited["audit"]
    before = evidence_of(workspace, audited["first"])
    assert before["audit"] is None
    assert any("Relearning" in sentence for sentence in before["untested"])
    assert "nepenthe audit --job JOB.toml" in (workspace.path(audited["first"]) / REPORT_PAGE).read_text()
    assert isinstance(made, Audit)
    assert made.report is not None
    after = evidence_of(workspace, made.report)
    assert after["audit"] == json.loads((workspace.path(made.audit) / AUDIT_EVIDENCE).read_text())
    assert not any(sentence.startswith("Relearning:") for sentence in after["untested"])
    assert any(sentence.startswith("Membership inference") for sentence in after["untested"])
    assert any(sentence.startswith("Relearning on related text") for sentence in after["untested"])
    assert "nepenthe audit --job" not in (workspace.path(made.report) / REPORT_PAGE).read_text()
    assert f"- {after['audit']['headline']}" in markdown_summary(workspace.path(made.report))
    assert after["record"] == before["record"]
    assert {row["kind"] for row in after["further"]} >= {"audit", "verbatim", "relearning"}


def test_the_next_run_of_the_job_keeps_the_audit_in_its_report(audited: dict[str, Any]) -> None:
    run: Run = audited["run"]
    assert unlearn_path(audited["job"], audited["given"], run).report == audited["audit"].report


def test_a_report_made_again_picks_up_what_was_tried_since(
    audited: dict[str, Any], make_job: Jobs, tmp_path: Path
) -> None:
    run, workspace = audited["run"], audited["workspace"]
    compared = ablation_pipeline(audited["job"], audited["given"], run)
    assert compared.report is not None
    both = evidence_of(workspace, compared.report)
    assert both["ablation"]["steps"] == [2, 4]
    assert both["audit"] is not None
    workspace.remove(compared.report)
    workspace.remove(audited["audit"].report)
    page = report_again(workspace, "tiny")
    assert page == workspace.path(compared.report) / REPORT_PAGE
    assert evidence_of(workspace, compared.report)["ablation"] == both["ablation"]
    assert workspace.references()["tiny.report"]["artifacts"] == [[*astuple(compared.report)]]


def test_an_audit_of_another_model_has_a_page_of_its_own_and_no_report(
    audited: dict[str, Any], tiny_model: Path
) -> None:
    made = pipeline(
        audited["job"], *resolve_audit(audited["job"], str(tiny_model), audited["workspace"]), audited["run"]
    )
    assert made.report is None
    folder = audited["workspace"].path(made.audit)
    assert [model["key"] for model in json.loads((folder / AUDIT_EVIDENCE).read_text())["models"]] == ["baseline"]
    assert "Audit of the model “baseline”" in (folder / AUDIT_PAGE).read_text()


def test_card_and_record_of_an_export_tell_the_audit_without_the_text(audited: dict[str, Any], tmp_path: Path) -> None:
    workspace = audited["workspace"]
    folder = tmp_path / "released"
    export(workspace, report_of(workspace, "tiny"), folder, Hub())
    written = json.loads((folder / FILE).read_text())
    jsonschema.validate(written, json.loads(schema()))
    record = Record(**written)
    assert record.audit is not None
    assert {verdict.attack for verdict in record.audit.verdicts} >= {"relearning", "membership", "questions"}
    assert {(one.model, one.step) for one in record.audit.results} == {("student", 4), ("baseline", None)}
    assert record.unlearned.fingerprint == audited["audit"].model.split("-")[-1].split("/")[0]
    text = (folder / "README.md").read_text()
    assert "## What an adversary gets back" in text
    assert record.audit.headline in text
    for name in ("README.md", FILE):
        assert not [word for word in ("Mira", "Tessaly", "ferryman") if word in (folder / name).read_text()]
