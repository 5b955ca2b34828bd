"""What a person decided and what a language model was paid for on one machine is there on every other."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary, Entry
from flows.cli.reports import report_again, report_of
from flows.inputs import resolve
from flows.job import read_job
from flows.review import go_on
from flows.unlearn import pipeline
from storage.artifact import Artifact
from storage.files import Files
from storage.remote.objects import Objects
from storage.shards import read_shard, write_shard
from storage.workspace import Workspace
from tasks.contents import dictionary_of, write_dictionary
from tasks.corpus import corpus
from tasks.dictionary_inputs import DictionaryInputs
from tasks.engine.runner import Direct
from tasks.judgement import ANSWERS
from tasks.judgement import answered_before as judged_before
from tasks.llm.store import answered_before
from tasks.report.card import Hub
from tasks.report.export import export, verify_export
from tasks.review import approve_rest, approved, import_table, review, undecided
from tasks.texts import CorpusFiles

Machine = Callable[..., Workspace]
DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
DRAFT = Artifact("dictionary", "tale", "1" * 16)
ANSWERED, ASKED = Artifact("answers", "tale", "2" * 16), Artifact("answers", "other", "3" * 16)
JUDGED, JUDGING = Artifact("judgement", "tale", "4" * 16), Artifact("judgement", "other", "5" * 16)


@pytest.fixture
def url() -> str:
    return f"memory://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def draft(url: str, machine: Machine, tmp_path: Path) -> Workspace:
    """Machine one, with a dictionary of two entries."""
    one = machine(url, "one")
    dictionary = Dictionary((Entry("Mira", ("Anna",)), Entry("Tessaly", ("Paris",))), {})
    write_dictionary(one.resume(DRAFT), dictionary, [], [])
    one.commit(DRAFT, DESCRIPTION)
    return one


def decide_on(one: Workspace, tmp_path: Path) -> None:
    """Tessaly becomes Newport, the rest is approved."""
    table = tmp_path / "review.csv"
    table.write_text("anchor,translation,alternatives,kind,decision\nTessaly,Newport,,,change\n")
    import_table(one, DRAFT, table, "Ann")
    approve_rest(one, DRAFT, "Ben")


def test_a_review_reaches_runs_on_another_machine(
    url: str, draft: Workspace, machine: Machine, direct_run: Callable[..., Direct], tmp_path: Path
) -> None:
    two = machine(url, "two")
    assert undecided(two, DRAFT) == ["Mira", "Tessaly"]
    assert approved(two, DRAFT) is None
    decide_on(draft, tmp_path)
    assert undecided(two, DRAFT) == []
    decisions = approved(two, DRAFT)
    assert decisions is not None
    assert decisions == approved(draft, DRAFT)

    (tmp_path / "tale.txt").write_text("Mira walked to Tessaly and back, and Tessaly slept.\n")
    run = direct_run(url)
    texts = run(corpus, CorpusFiles.of(run.workspace.hashes.files([tmp_path / "tale.txt"])), "text")
    made = run(review, texts, DRAFT, decisions, DictionaryInputs(curated=Files((), "none")))
    entries = {entry.anchor: entry.translations for entry in dictionary_of(two.path(made)).entries}
    assert entries == {"Mira": ("Anna",), "Tessaly": ("Newport",)}


def test_decisions_that_an_earlier_release_left_on_one_machine_count_there(draft: Workspace, tmp_path: Path) -> None:
    decide_on(draft, tmp_path)
    left, name = draft.read(draft.decisions(DRAFT)), draft.decisions(DRAFT)
    assert left is not None
    draft.erase(name)
    assert undecided(draft, DRAFT) == ["Mira", "Tessaly"]
    (draft.root / name).parent.mkdir()
    (draft.root / name).write_bytes(left)
    assert undecided(draft, DRAFT) == []


def test_the_run_that_waits_on_one_machine_is_resumed_from_another(
    url: str, draft: Workspace, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prefect.flow_runs

    resumed: list[Any] = []
    monkeypatch.setattr(prefect.flow_runs, "resume_flow_run", lambda run, run_input: resumed.append((run, run_input)))
    two, run = machine(url, "two"), uuid.uuid4()
    assert go_on(two, DRAFT, "Ann") == "run the same job again"
    draft.write(draft.waiting_run(DRAFT), str(run).encode())
    assert go_on(two, DRAFT, "Ann") == f"the flow run {run} goes on"
    assert resumed == [(run, {"decision": "approve", "reviewer": "Ann"})]
    assert draft.read(draft.waiting_run(DRAFT)) is None


def test_answers_that_one_machine_paid_for_are_found_on_another_finished_or_not(url: str, machine: Machine) -> None:
    one, two = machine(url, "one"), machine(url, "two")

    def answer(artifact: Artifact, number: int, question: str, reason: str | None = None) -> Path:
        shard = one.resume(artifact) / f"anchor_answers-{number:06d}.arrow"
        row = {"passage": "p", "question": question, "answer": "{}", "reason": reason, "requests": 1, "tokens": 9}
        write_shard(shard, [row])
        return shard

    for number, question in enumerate(("a", "b")):
        answer(ANSWERED, number, question)
    one.commit(ANSWERED, DESCRIPTION)
    for number, question in enumerate(("c", "torn")):
        one.keep(ASKED, answer(ASKED, number, question))
    one.keep(ASKED, answer(ASKED, 2, "unreadable", "no_json"))
    answer(ASKED, 3, "never kept")
    torn = f"{ASKED.partial}/anchor_answers-000001.arrow"
    Objects(url).write(torn, (Objects(url).read(torn) or b"")[:-1])

    questions = ["a", "b", "c", "torn", "unreadable", "never kept", "new"]
    assert sorted(answered_before(two, questions)) == ["a", "b", "c"]
    assert sorted(answered_before(one, questions)) == ["a", "b", "c", "never kept", "torn"]
    assert sorted(answered_before(two, ["b", "new"])) == ["b"]
    assert two.touched(ASKED) is not None
    assert not two.partial(ASKED).exists()  # looked at, and not taken over


def test_judgements_that_one_machine_paid_for_are_found_on_another_finished_or_not(url: str, machine: Machine) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    for artifact, question in ((JUDGED, "a"), (JUDGING, "b")):
        lines = [{"question": question, "answer": "3", "grade": 3}, {"question": "open", "answer": "?", "grade": None}]
        file = one.resume(artifact) / ANSWERS
        file.write_text("\n".join(map(json.dumps, lines)) + '\n{"question": "torn by a ki')
        one.keep(artifact, file)
    one.commit(JUDGED, DESCRIPTION)
    assert sorted(judged_before(two)) == ["a", "b"]


@pytest.mark.slow
def test_report_and_export_need_no_copies_of_this_machine(
    url: str, machine: Machine, direct_run: Callable[..., Direct], make_job: Callable[..., Path], tmp_path: Path
) -> None:
    one = machine(url, "one")
    job = read_job(make_job(), [])
    pipeline(job, resolve(job, one.hashes), direct_run(url))
    whole = evidence_in(one)
    assert whole["training"]["student"]["losses"]
    assert whole["training"]["reinforce"]["losses"]

    two = machine(url, "two")
    export(two, report_of(two, "tiny"), tmp_path / "released", Hub(None, None))
    assert verify_export(tmp_path / "released") > 2
    student = next(artifact for artifact in two.all() if artifact.kind == "student")
    assert not (two.root / student.folder / "steps" / "000002").exists()  # only what is exported was fetched

    three = machine(url, "three")
    report_again(three, "tiny")
    assert evidence_in(three)["training"] == whole["training"]
    rows = read_shard(three.path(student, ["training_steps.parquet"]) / "training_steps.parquet").num_rows
    assert rows == 4


def evidence_in(workspace: Workspace) -> dict[str, Any]:
    folder = workspace.path(report_of(workspace, "tiny"))
    found: dict[str, Any] = json.loads((folder / "evidence.json").read_text())
    return found
