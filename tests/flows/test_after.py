"""Requests in sequence: a later job goes on with an earlier one's student and keeps its request in force."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows.audit import pipeline as audit_pipeline
from flows.audit import resolve_audit
from flows.cli.outcomes import plan_table
from flows.cli.reports import known_now, report_of
from flows.inputs import inputs_of
from flows.job import Job, job_of, read_job
from flows.plan import cost
from flows.unlearn import Outcome, pipeline, plan
from storage.errors import BadInput
from storage.lineage import history
from storage.shards import read_shard
from tasks.contents import REPORT_EVIDENCE, REPORT_PAGE, TRAINING, read_json
from tasks.engine.runner import Direct
from tasks.report.card import Hub
from tasks.report.export import export
from tasks.report.filing import FACTS, file_evidence
from tasks.report.record import FILE, Record, schema
from tasks.report.request import RequestSettings
from tasks.report.stage import report

SECOND = "The sailor Brann went to Hollowmere and never came back. In Hollowmere nobody knew Oslin. "
WORDS = {"Brann": "John", "Oslin": "Mark", "Hollowmere": "Springfield"}
SMALL = [
    "audit.passages={count=6, tokens=16, given=8}",
    "audit.questions={count=6, hints=1}",
    "audit.relearning={documents=2, steps=[0, 1], batch=2, length=32}",
    "audit.quantisation.bits=[4]",
]
Kept = dict[str, Any]


@pytest.fixture(scope="module")
def kept() -> Kept:
    """What two jobs in sequence left: the tests only read it."""
    return {}


@pytest.fixture
def chain(kept: Kept, make_job: Callable[..., Path], direct_run: Callable[..., Direct]) -> Kept:
    """The run, both jobs and what they left, and a third job that is not run."""
    if not kept:
        path, run = make_job(), direct_run()
        (path.parent / "second.txt").write_text("\n".join(9 * [SECOND]))
        (path.parent / "second.json").write_text(json.dumps(WORDS))
        first = read_job(path, [])
        texts = ['corpus.paths=["second.txt"]', 'dictionary.curated=["second.json"]']
        second = read_job(path, ["name=second", "after=tiny", *texts, *SMALL])
        kept |= {"run": run, "first": first, "second": second}
        kept["before"] = pipeline(first, inputs_of(first, run.workspace), run)
        run.name = second.name
        kept["outcome"] = pipeline(second, inputs_of(second, run.workspace), run)
        kept["third"] = read_job(path, ["name=third", "after=second", *texts])
    return kept


def input_of(chain: Kept, kind: str) -> Any:
    workspace = chain["run"].workspace
    (artifact,) = [each for each in workspace.all() if (each.kind, each.name) == (kind, "second")]
    return workspace.record(artifact)["inputs"]


def labels_of(chain: Kept, outcome: Outcome) -> str:
    fingerprint: str = chain["run"].workspace.record(outcome.report)["inputs"]["labels"]
    return fingerprint


def test_it_starts_from_the_chosen_student_and_learns_the_earlier_labels_beside_its_own(chain: Kept) -> None:
    workspace, taught = chain["run"].workspace, input_of(chain, "student")
    before = workspace.record(chain["before"].report)["inputs"]
    assert taught["baseline"] == f"{before['student']}/steps/{chain['before'].step:06d}"
    assert taught["earlier"] == [before["labels"]]
    assert taught["settings"]["retain"] == 0.5, "by default"
    assert input_of(chain, "logits")["baseline"] == taught["baseline"]
    (labels,) = [each for each in workspace.all() if each.fingerprint == before["labels"]]
    assert len(read_shard(workspace.path(labels) / TRAINING)) > 0


def test_the_report_judges_every_request_with_its_own_verdict(chain: Kept) -> None:
    workspace, outcome = chain["run"].workspace, chain["outcome"]
    folder = workspace.path(outcome.report)
    (request,) = read_json(folder / REPORT_EVIDENCE)["earlier"]
    assert request["job"] == "tiny"
    assert {verdict["name"] for verdict in request["forgotten"]} == {
        "familiarity, probability",
        "familiarity, completion",
    }
    assert request["audit"] is None
    page = (folder / REPORT_PAGE).read_text()
    assert "An earlier request: tiny" in page
    assert request["headline"] in page
    asked = workspace.record(outcome.report)["inputs"]["earlier"][0]["evaluations"]
    models = [workspace.record(each)["inputs"] for each in workspace.all() if each.fingerprint in asked]
    assert {row["role"] for row in models} == {"baseline", "student"}
    assert {row["corpus"] for row in models} == {request["corpus"]}
    assert "/" not in next(row["model"] for row in models if row["role"] == "baseline"), "the model before any request"


def test_the_record_names_the_chain_and_quotes_none_of_its_texts(chain: Kept, tmp_path: Path) -> None:
    workspace = chain["run"].workspace
    export(workspace, chain["outcome"].report, tmp_path / "model", Hub())
    written = json.loads((tmp_path / "model" / FILE).read_text())
    jsonschema.validate(written, json.loads(schema()))
    (request,) = Record(**written).earlier
    assert (request.job, len(request.sha256)) == ("tiny", 6)
    assert request.labels == labels_of(chain, chain["before"])
    assert len([made for made in written["artifacts"] if made["kind"] == "student"]) == 2
    assert f"- tiny: {request.headline}" in (tmp_path / "model" / "README.md").read_text()
    file_evidence(workspace, chain["outcome"].report, RequestSettings(), tmp_path / "filing")
    items = json.loads((tmp_path / "filing" / FACTS).read_text())["items"]
    assert {item["request"] for item in items} == {"", "tiny"}
    for path in [tmp_path / "model" / FILE, tmp_path / "model" / "README.md", *(tmp_path / "filing").iterdir()]:
        assert not [word for word in ("Mira", "Tessaly", "Brann", "Hollowmere") if word in path.read_text()], path


def test_a_third_job_keeps_both_earlier_requests_and_its_plan_shows_them(chain: Kept) -> None:
    workspace = chain["run"].workspace
    inputs = inputs_of(chain["third"], workspace)
    assert [request.job for request in inputs.earlier] == ["tiny", "second"]
    planned = plan(chain["third"], inputs, workspace)
    (student,) = [step for step in planned.steps if step.stage.kind == "student"]
    wanted = [labels_of(chain, chain[name]) for name in ("before", "outcome")]
    assert [labels.fingerprint for labels in student.inputs["earlier"]] == wanted
    shown = plan_table(cost(planned, chain["third"], inputs))
    assert f"Goes on from {inputs.baseline.fingerprint}; stays in force, and is judged again: tiny, second." in shown
    (page,) = [step for step in planned.steps if step.stage is report]
    assert [len(request.evaluations) for request in page.inputs["earlier"]] == [2, 2]


def test_a_report_made_again_has_the_inputs_that_it_had(chain: Kept) -> None:
    workspace, old = chain["run"].workspace, report_of(chain["run"].workspace, "second")
    inputs = report.inputs(**known_now(workspace, workspace.record(old)["inputs"]))
    assert report.artifact("second", inputs).fingerprint == old.fingerprint


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"after": "nobody"}, "expected an earlier job with a finished run"),
        ({"name": "tiny"}, "expected the name of an earlier job, this is its own"),
        ({"student": {"steps": 4, "batch": 4, "retain": 0.0}}, "found only after"),
    ],
)
def test_an_earlier_job_that_cannot_be_gone_on_with_is_refused(chain: Kept, changes: dict[str, Any], said: str) -> None:
    values = chain["second"].model_dump(exclude_unset=True) | changes
    with pytest.raises(BadInput, match=said):
        inputs_of(job_of(values), chain["run"].workspace)  # one is refused as a job, the others as inputs


def test_another_model_is_refused(chain: Kept) -> None:
    another = chain["second"].model_copy(update={"model": chain["before"].model})
    with pytest.raises(BadInput, match="a later request names the same model as the first"):
        inputs_of(another, chain["run"].workspace)


@pytest.mark.slow
def test_the_attacks_are_made_by_every_request_each_with_its_verdicts(chain: Kept) -> None:
    run, second = chain["run"], chain["second"]
    made = audit_pipeline(second, *resolve_audit(second, "", run.workspace), run)
    assert list(made.earlier) == ["tiny"]
    assert made.report is not None
    told = read_json(run.workspace.path(made.report) / REPORT_EVIDENCE)
    assert told["audit"]["job"] == "second"
    assert told["earlier"][0]["audit"]["job"] == "tiny"
    assert {verdict["attack"] for verdict in told["earlier"][0]["audit"]["verdicts"]} >= {"verbatim", "relearning"}
    before = [row["inputs"] for row in history(run.workspace, [made.earlier["tiny"]]) if row["kind"] == "verbatim"]
    assert {row["suspect"]["role"] for row in before} == {"student", "baseline"}
    assert {row["corpus"] for row in before} == {told["earlier"][0]["corpus"]}


def test_what_is_kept_of_an_earlier_job_must_still_be_there(chain: Kept) -> None:
    workspace, third = chain["run"].workspace, chain["third"]
    kept = workspace.record(chain["before"].report)["inputs"]
    student, labels = (workspace.find(kind, kept[kind]) for kind in ("student", "labels"))
    workspace.remove(student)
    assert len(inputs_of(third, workspace).earlier) == 2, "of the students the last is enough"
    workspace.remove(labels)
    with pytest.raises(BadInput, match=r"expected labels .* of tiny .* found it gone .* run tiny again"):
        inputs_of(third, workspace)


def test_a_job_without_a_predecessor_is_what_it_was(chain: Kept) -> None:
    assert Job.model_fields["after"].default == ""
    assert "earlier" not in chain["run"].workspace.record(chain["before"].report)["inputs"]
