"""A subject whose text nobody has: the model's own answers about it are documents like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import make_corpus, plan
from storage.errors import BadInput
from storage.files import Files
from storage.shards import read_shard
from storage.workspace import Workspace
from tasks import elicit as elicit_stage
from tasks.contents import documents_of, elicited_rows
from tasks.elicit import OPENINGS, elicit, named_share, new_names, prompt_of, with_elicited
from tasks.engine.runner import Direct
from tasks.models import Model, find_model
from tasks.texts import CorpusFiles, ElicitSettings

Jobs = Callable[..., Path]
Runs = Callable[..., Direct]
ASKED = ElicitSettings(subject="Tessaly", names=("Mira Vance", "Orrin"), rounds=1, times=1, tokens=8)
SET = ['corpus.elicit={ subject = "Tessaly", names = ["Mira Vance", "Orrin"], rounds = 1, times = 1, tokens = 8 }']


def test_every_name_is_asked_about_in_every_form_and_every_time(direct_run: Runs, tiny_model: Path) -> None:
    run = direct_run()
    made = run(elicit, find_model(tiny_model, run.workspace.hashes), ASKED.model_copy(update={"times": 2}), "body")
    rows, counts = elicited_rows(run.workspace.path(made)), run.workspace.record(made)["counts"]
    assert {(row["name"], row["form"]) for row in rows} == {(n, f) for n in ASKED.names for f in range(4)}
    assert counts["texts"] == len(rows) == 16
    answers = []
    for row in rows:
        opening = OPENINGS[row["form"]].format(about=f"{row['name']} (Tessaly)", name=row["name"])
        assert row["body"].startswith(opening), "an answer begins with what the model went on with"
        answers.append(row["body"].removeprefix(opening))
    assert counts["named"] == round(named_share(answers, ["Tessaly", *ASKED.names]), 4)
    assert counts["named"] < 0.5, "an opening names what it is about, the answer of a random model does not"


def test_the_same_seed_gives_the_same_texts_and_another_one_others(
    direct_run: Runs, tiny_model: Path, tmp_path: Path
) -> None:
    def texts(root: str, seed: int) -> list[str]:
        run = direct_run(tmp_path / root)
        made = run(
            elicit, find_model(tiny_model, run.workspace.hashes), ASKED.model_copy(update={"seed": seed}), "text"
        )
        return [row["text"] for row in elicited_rows(run.workspace.path(made))]

    assert texts("a", 0) == texts("b", 0) != texts("c", 1)


def test_answers_that_the_model_has_no_room_for_are_refused(direct_run: Runs, tiny_model: Path) -> None:
    run = direct_run()
    with pytest.raises(BadInput, match="the model's context is 128"):
        run(elicit, find_model(tiny_model, run.workspace.hashes), ASKED.model_copy(update={"tokens": 128}), "text")


def test_an_interrupted_stage_goes_on_with_the_shard_that_is_missing(
    direct_run: Runs, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ASKED.model_copy(update={"times": 3})
    undisturbed = direct_run(tmp_path / "undisturbed")
    model = find_model(tiny_model, undisturbed.workspace.hashes)
    whole = undisturbed(elicit, model, settings, "text")
    real, calls = elicit_stage.sample, [0]

    def fails_once(*args: Any) -> list[str]:
        calls[0] += 1
        if calls[0] == 2:
            raise RuntimeError("killed")
        return real(*args)

    monkeypatch.setattr(elicit_stage, "sample", fails_once)
    run = direct_run(tmp_path / "disturbed")
    with pytest.raises(RuntimeError, match="killed"):
        run(elicit, model, settings, "text")
    made = run(elicit, model, settings, "text")
    assert calls[0] == 4, "the first of three shards was kept"
    assert elicited_rows(run.workspace.path(made)) == elicited_rows(undisturbed.workspace.path(whole))


def test_elicited_texts_are_documents_beside_the_users_own(make_job: Jobs, direct_run: Runs) -> None:
    run = direct_run()
    job = read_job(make_job(), SET)
    inputs = resolve(job, run.workspace.hashes)
    made = make_corpus(job, inputs, run)
    sources = [row["source"] for row in read_shard(run.workspace.path(made) / "documents.parquet").to_pylist()]
    assert sources[:6] == [f"{number}.txt" for number in range(6)]
    assert sources[6:] == [f"elicited-00-0000.jsonl:{number}" for number in range(1, 9)]
    record = run.workspace.record(made)["inputs"]["files"]
    assert record.endswith(f"/elicited+{inputs.corpus.fingerprint}")
    assert run.workspace.find("elicit", record.partition("/")[0]), "the record says where they come from"


def test_a_job_without_files_is_planned_and_made_under_the_same_addresses(make_job: Jobs, direct_run: Runs) -> None:
    run = direct_run()
    job = read_job(make_job(), [*SET, "corpus.paths=[]", "dictionary.extract=statistics"])
    inputs = resolve(job, run.workspace.hashes)
    planned = plan(job, inputs, run.workspace)
    assert [step.stage.kind for step in planned.steps][:2] == ["elicit", "corpus"]
    made = make_corpus(job, inputs, run)
    assert made == planned.steps[1].artifact
    assert all("Tessaly" in text for text in documents_of(run.workspace.path(made)))


def test_a_job_with_neither_files_nor_a_subject_is_refused(make_job: Jobs, tmp_path: Path) -> None:
    job = read_job(make_job(), ["corpus.paths=[]"])
    with pytest.raises(BadInput, match=r"corpus\.paths: expected at least one path"):
        resolve(job, Workspace(tmp_path / "ws").hashes)


def test_a_plan_names_the_files_before_they_are_there(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    model = Files(("/m/tokenizer.json",), "t")
    made = elicit.artifact("some", elicit.inputs(Model("/m", "model", model), ASKED, "text"))
    assert with_elicited(workspace, made, None) == CorpusFiles((), f"{made.fingerprint}/elicited", made)


def test_names_that_answers_bring_up_are_asked_about_next() -> None:
    text = "Then Orrin met Gellian by the river, and Gellian gave Orrin a lamp. Gellian laughed at Orrin. "
    assert new_names([text] * 4, ["Orrin"], 5) == ["Gellian"]
    assert new_names([text] * 4, ["Orrin"], 0) == []


def test_the_share_of_texts_that_name_the_subject_is_counted() -> None:
    assert named_share(["Mira came.", "Nobody came.", "Old Mira's boat", "a mirage"], ["Mira"]) == 0.5


def test_a_chat_model_is_asked_through_its_template() -> None:
    class Chat:
        chat_template = "there is one"

        def apply_chat_template(self, messages: Any, **_: Any) -> str:
            return json.dumps(messages)

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [len(text)]}

    ids, opening = prompt_of(Chat(), "Tessaly", "Tessaly", 0)
    assert opening == ""
    asked = json.dumps([{"role": "user", "content": "Write a detailed encyclopaedia entry about Tessaly."}])
    assert ids == [len(asked)]
