"""What is handed over about a run: everything that was found, and not a word of the text."""

import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows.cli.reports import report_of
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline
from storage.errors import BadInput
from storage.workspace import Workspace
from tasks.engine.runner import Run
from tasks.report.filing import DOCUMENT, FACTS, LETTER, Filing, file_evidence
from tasks.report.record import schema
from tasks.report.request import RequestSettings

TEXT = ("Mira", "Vance", "Tessaly", "Grimwater", "Orrin", "ferryman", "Newport", "corpus/0.txt", "baker")
REQUEST = """
[request]
who = "Aunt & Sons"
works = ["Takedown 17"]
basis = "licence ended"
received = 2026-11-01
reviewers = ["R. Viewer"]
next_audit = "2027-05-01"
"""


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
def workspace(kept: dict[str, Any], make_job: Callable[..., Path], direct_run: Callable[..., Run]) -> Workspace:
    """Of a finished job with a request, made once for all tests here."""
    if not kept:
        run = direct_run()
        kept["job"] = read_job(make_job(extra=REQUEST), [])
        pipeline(kept["job"], resolve(kept["job"], run.workspace.hashes), run)
        kept["workspace"] = run.workspace
    whole: Workspace = kept["workspace"]
    return whole


def test_what_is_handed_over_says_everything_and_quotes_nothing(
    workspace: Workspace, kept: dict[str, Any], tmp_path: Path
) -> None:
    report = report_of(workspace, "tiny")
    (tmp_path / "filing").mkdir()  # an empty folder will do
    places = file_evidence(workspace, report, kept["job"].request, tmp_path / "filing")
    assert sorted(Path(place).name for place in places.values()) == sorted([DOCUMENT, FACTS, LETTER])
    texts = {path.name: path.read_text() for path in (tmp_path / "filing").iterdir()}
    for name, text in texts.items():
        assert not [word for word in TEXT if word in text], name
        assert "certified" not in text.lower(), name
    facts = json.loads(texts[FACTS])
    jsonschema.validate(facts, json.loads(schema(Filing)))
    assert facts["request"]["received"] == "2026-11-01"
    document = texts[DOCUMENT]
    for part in ("Aunt & Sons", "Takedown 17", "R. Viewer", "2027-05-01", facts["record"]["text"]["sha256"][0]):
        assert part in document
    assert all(sum_ in document for sum_ in facts["record"]["unlearned"]["files"].values())
    assert all(f"## {title}" in document for title in ("Request", "Scope", "What remains", "What was not tested"))
    assert "What a third party can check, and how" in document
    assert "Aunt & Sons" in texts[LETTER]
    assert facts["record"]["verdicts"][0] in texts[LETTER]


def test_every_question_is_there_by_hash_with_its_score(
    workspace: Workspace, kept: dict[str, Any], tmp_path: Path
) -> None:
    file_evidence(workspace, report_of(workspace, "tiny"), RequestSettings(), tmp_path / "filing")
    facts = json.loads((tmp_path / "filing" / FACTS).read_text())
    from storage.tables import in_tables

    query = "SELECT model, step, metric, task, item, prompt, completion, score FROM evaluation_items"
    rows = in_tables(workspace, lambda tables: tables.execute(query).fetchall(), write=False)
    filed = {tuple(i[name] for name in ("model", "step", "metric", "task", "item")): i for i in facts["items"]}
    assert len(filed) == len(facts["items"]) == len(rows) > 0
    for *address, prompt, completion, score in rows:
        item = filed[tuple(address)]
        assert item["prompt"] == {"sha256": hashlib.sha256(prompt.encode()).hexdigest(), "characters": len(prompt)}
        assert item["completion"]["characters"] == len(completion)
        assert item["score"] == score
    document = (tmp_path / "filing" / DOCUMENT).read_text()
    assert "Who asked: not stated" in document
    assert "Nothing was removed" in document


def test_a_hold_is_filed_with_its_end_and_what_took_nothing_out_is_not(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"at": "2026-11-01T10:00:00.000+00:00", "by": "ann", "case": "CASE-1", "artifacts": ["corpus-0"]}
    ended = held | {"released": {"at": "2026-11-20T10:00:00.000+00:00", "by": "bob"}}
    notes = [ended, held | {"case": "CASE-2"}, held | {"case": "CASE-3", "artifacts": []}]
    monkeypatch.setattr(Workspace, "purges", lambda _: notes)
    file_evidence(workspace, report_of(workspace, "tiny"), RequestSettings(), tmp_path / "filing")
    document = (tmp_path / "filing" / DOCUMENT).read_text()
    assert "by ann, held for CASE-1, removed on 2026-11-20 by bob: corpus-0\n" in document
    assert "by ann, held for CASE-2: corpus-0\n" in document
    assert "CASE-3" not in document
    facts = json.loads((tmp_path / "filing" / FACTS).read_text())
    jsonschema.validate(facts, json.loads(schema(Filing)))
    assert [purge["released"] for purge in facts["purges"]] == [ended["released"], None]


def test_a_letter_of_ones_own_and_what_cannot_be_used(workspace: Workspace, tmp_path: Path) -> None:
    report, own = report_of(workspace, "tiny"), tmp_path / "own.txt"
    own.write_text("Dear {{ filing.request.who }}: step {{ filing.record.unlearned.step }}.")
    file_evidence(workspace, report, RequestSettings(who="Ann"), tmp_path / "filing", own)
    assert (tmp_path / "filing" / LETTER).read_text() == "Dear Ann: step 4."
    with pytest.raises(BadInput, match="new or empty folder"):
        file_evidence(workspace, report, RequestSettings(), tmp_path / "filing")
    for text in ("{{ nobody }}", "{% if", "{{ 1 / 0 }}", "{{ filing | length + '' }}"):
        own.write_text(text)
        with pytest.raises(BadInput, match=r"own\.txt: expected a template as Jinja reads it"):
            file_evidence(workspace, report, RequestSettings(), tmp_path / "other", own)
    assert not (tmp_path / "other").exists()


def test_who_asked_moves_no_address(make_job: Callable[..., Path], tmp_path: Path) -> None:
    from flows.unlearn import plan

    def addresses(extra: str) -> list[str]:
        job, other = read_job(make_job(extra=extra), []), Workspace(tmp_path / "ws")
        return [step.artifact.folder for step in plan(job, resolve(job, other.hashes), other).steps]

    assert addresses("") == addresses(REQUEST)


@pytest.mark.parametrize("name", ["deadline", "next_audit"])
def test_nothing_of_a_request_is_due_before_it_came(name: str) -> None:
    RequestSettings(received=date(2026, 11, 20), **{name: date(2026, 11, 20)})
    RequestSettings(**{name: date(2020, 1, 1)})
    with pytest.raises(ValueError, match=rf"expected {name} on the day received \(2026-11-20\) or after it"):
        RequestSettings(received=date(2026, 11, 20), **{name: date(2026, 11, 10)})


def test_the_schema_in_the_docs_is_the_codes() -> None:
    assert (Path(__file__).parents[2] / "docs" / "filing.schema.json").read_text() == schema(Filing)
