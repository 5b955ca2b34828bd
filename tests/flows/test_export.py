"""An exported model: what lies in the folder, what the hub and a court read in it, and what must not stand there."""

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.audit import resolve_audit
from flows.cli.reports import report_of
from flows.inputs import resolve
from flows.job import job_of, read_job
from flows.unlearn import pipeline
from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact, MissingArtifact
from storage.files import sha256_of
from storage.machine import hardware, software
from storage.workspace import Workspace
from tasks.audit.common import Attacked
from tasks.audit.relearning import RelearningSettings, finetuned
from tasks.engine.runner import Run
from tasks.engine.stage import Placement
from tasks.report.card import NOT_THE_PAPERS, Hub, departures
from tasks.report.export import Form, export, verify_export
from tasks.report.filing import file_evidence
from tasks.report.record import FILE, Record, Stored, made_of, schema, seeds_in
from tasks.report.request import RequestSettings

NAMES = ("plain", "small")

PEOPLE_AND_PLACES = ("Mira", "Vance", "Tessaly", "Grimwater", "Orrin", "ferryman", "Newport", "corpus/0.txt")


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What one run left: the tests below only read it."""
    return {}


@pytest.fixture
def finished(kept: dict[str, Any], make_job: Callable[..., Path], direct_run: Callable[..., Run]) -> Workspace:
    """A workspace with a finished job whose rule kept the first of two steps."""
    if "workspace" not in kept:
        run = direct_run()
        job = read_job(make_job(), ["stop.familiarity=1", "blocks.seed=7", "labels.soft=0.7"])
        pipeline(job, resolve(job, run.workspace.hashes), run)
        kept["workspace"] = run.workspace
    workspace: Workspace = kept["workspace"]
    return workspace


def test_the_folder_holds_the_chosen_model_its_card_and_a_valid_record(
    finished: Workspace, tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "released"
    export(finished, report_of(finished, "tiny"), folder, Hub("somebody/tiny", "mit"))
    student = next(a for a in finished.all() if a.kind == "student")
    chosen = finished.path(student) / "steps/000002"
    for file in chosen.iterdir():
        assert sha256_of(folder / file.name) == sha256_of(file)
    AutoModelForCausalLM.from_pretrained(folder)
    AutoTokenizer.from_pretrained(folder)

    written = json.loads((folder / FILE).read_text())
    jsonschema.validate(written, json.loads(schema()))
    with pytest.raises(jsonschema.ValidationError):  # the schema can refuse
        jsonschema.validate(written | {"text": "Mira"}, json.loads(schema()))
    record = Record(**written)
    assert record.unlearned.step == 2
    assert record.unlearned.files.keys() == {file.name for file in chosen.iterdir()}
    given = [tiny_model / name for name in record.baseline.files]
    assert record.baseline.files == {file.name: sha256_of(file) for file in given}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= record.baseline.files.keys()
    sums = hashlib.sha256("\n".join(record.baseline.files.values()).encode()).hexdigest()
    assert record.baseline.fingerprint == sums[:16]
    assert len(record.text.sha256) == record.text.documents == 6
    assert record.seeds["blocks.settings.seed"] == 7
    assert {made.kind for made in record.artifacts} >= {"corpus", "reinforce", "student", "evaluation", "choice"}
    by_kind = {made.kind: made for made in record.artifacts}
    assert by_kind["student"].device == "cpu"
    assert by_kind["student"].hardware == hardware()
    assert by_kind["student"].software == software()
    assert record.gpu_hours == 0 < record.hours
    assert {(r.model, r.step) for r in record.results} == {("baseline", None), ("student", 2), ("student", 4)}

    card = ModelCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert (data["base_model"], data["license"]) == ("somebody/tiny", "mit")
    assert (data["library_name"], data["pipeline_tag"]) == ("transformers", "text-generation")
    assert {"unlearning", "arxiv:2310.02238"} <= set(data["tags"])
    assert {result.metric_type for result in card.data.eval_results} == {
        "familiarity_probability",
        "familiarity_completion",
    }
    assert "| measure | before | this model | change (95 % interval) |" in card.text
    assert "blocks. Labels are to 70% whole distributions.\n" in card.text
    assert record.text.sha256[0] in card.text
    for name in ("README.md", FILE):
        text = (folder / name).read_text()
        assert not [word for word in PEOPLE_AND_PLACES if word in text], name
    assert verify_export(folder) == len(record.unlearned.files)
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b" ")
    with pytest.raises(DamagedArtifact, match=r"found others, or none, in config\.json: get it again"):
        verify_export(folder)


def test_the_card_says_what_was_not_the_papers() -> None:
    def said(**settings: dict[str, Any]) -> list[str]:
        return departures({"record": [{"kind": kind, "inputs": {"settings": own}} for kind, own in settings.items()]})

    paper = job_of({"model": "m", "corpus": {"paths": ["x"]}, "dictionary": {"curated": ["y"]}}).model_dump(mode="json")
    assert said(**{kind: paper[kind] for kind in ("logits", "labels", "student")}) == []
    ours = {"hardening": 3.0, "retain": 0.5, "null_space": 0.25, "lora": 8}
    sentences = said(logits={"equation": "log_probabilities"}, labels={"soft": 0.7, "alpha": 5}, student=ours)
    assert len(sentences) == len(NOT_THE_PAPERS)
    for part in ("log-probabilities", "70% whole", "3 times", "50% of every", "25% of the directions", "rank 8"):
        assert any(part in sentence for sentence in sentences), part


def test_a_file_that_was_added_to_an_exported_model_is_named(finished: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "released"
    export(finished, report_of(finished, "tiny"), folder, Hub())
    (folder / ".cache").mkdir()
    for hidden in (".gitattributes", ".cache/model.safetensors.metadata"):
        (folder / hidden).touch()
    assert verify_export(folder) > 0
    (folder / "code").mkdir()
    (folder / "code" / "modeling.py").touch()
    (folder / "adapter_config.json").symlink_to("nowhere")
    with pytest.raises(
        DamagedArtifact, match=r"no others, found adapter_config\.json, code/modeling\.py: take them away"
    ):
        verify_export(folder)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_says_what_it_did_and_keeps_nothing(
    code: int, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, copy: Path, **_: Any) -> None:
        Path(copy).touch()
        raise OSError(code, os.strerror(code), str(copy))

    monkeypatch.setattr("shutil.copyfile", refuse)
    with pytest.raises(OSError, match=os.strerror(code)) as refused:
        export(finished, report_of(finished, "tiny"), tmp_path / "released", Hub())
    assert refused.value.errno == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [Form(), Form("bfloat16")])
def test_a_model_whose_bytes_have_changed_is_not_exported(form: Form, finished: Workspace, tmp_path: Path) -> None:
    report, weights = report_of(finished, "tiny"), next(finished.root.glob("student/*/steps/000002/model.safetensors"))
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(
            DamagedArtifact, match=r"student/.*/steps/000002 in .* in model\.safetensors; nepenthe verify"
        ):
            export(finished, report, tmp_path / "exported", Hub(), form)
    finally:
        weights.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("old", "new"), [(b"{", b"["), (b"0", b"1")])
def test_what_a_damaged_report_says_is_not_handed_out(
    old: bytes, new: bytes, finished: Workspace, tmp_path: Path
) -> None:
    report, said = report_of(finished, "tiny"), next(finished.root.glob("report/*/evidence.json"))
    whole = said.read_bytes()
    try:
        said.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(DamagedArtifact, match=r"evidence\.json; nepenthe verify --repair"):
            export(finished, report, tmp_path / "exported", Hub())
        with pytest.raises(DamagedArtifact, match=r"evidence\.json; nepenthe verify --repair"):
            file_evidence(finished, report, RequestSettings(), tmp_path / "filed")
    finally:
        said.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_exported_in_bfloat16_with_the_share_of_the_update_that_is_left(
    finished: Workspace, tmp_path: Path
) -> None:
    report, places = report_of(finished, "tiny"), {"plain": Form(), "small": Form("bfloat16", seed=3)}
    for name, form in places.items():
        export(finished, report, tmp_path / name, Hub(), form)
        assert verify_export(tmp_path / name) > 0
    plain, small = (Record(**json.loads((tmp_path / name / FILE).read_text())) for name in places)
    assert plain.stored == Stored(dtype="float32", kept=1.0)
    assert small.stored is not None
    assert (small.stored.dtype, small.stored.seed) == ("bfloat16", 3)
    assert small.stored.kept == pytest.approx(1, abs=0.05)
    assert {"model.layers.0", "model.layers.1"} <= small.stored.layers.keys()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert model.dtype == torch.bfloat16
    assert f"keeps {small.stored.kept:.1%} of the update" in (tmp_path / "small" / "README.md").read_text()
    assert "rounded" not in (tmp_path / "plain" / "README.md").read_text().partition("## Limits")[0]
    with pytest.raises(BadInput, match="expected float32 or bfloat16"):
        export(finished, report, tmp_path / "other", Hub(), Form("int8"))
    assert not (tmp_path / "other").exists()


def test_a_jobs_name_means_its_latest_run_though_all_of_that_was_cached(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    first, second, again, under_way = (Artifact("report", "tiny", str(number) * 16) for number in range(4))

    def make(page: Artifact, **inputs: str) -> None:
        workspace.resume(page)
        workspace.commit(page, {"inputs": inputs, "counts": {}, "holds_protected_text": True})

    for page in (first, second):
        make(page, student=page.fingerprint)
        workspace.refer("tiny.unlearn", [page])
    assert report_of(workspace, "tiny") == second
    workspace.refer("tiny.unlearn", [first])
    assert report_of(workspace, "tiny") == first
    make(again, student=first.fingerprint, audit="made since")
    workspace.refer("tiny.unlearn", [under_way], ended=False)
    assert report_of(workspace, "tiny") == again
    assert report_of(workspace, second.fingerprint) == second


@pytest.mark.parametrize("form", [Form(), Form("bfloat16")])
def test_every_file_has_the_mode_of_the_users_files(form: Form, finished: Workspace, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    report = report_of(finished, "tiny")
    export(finished, report, tmp_path / "exported", Hub(), form)
    students = (finished.path(artifact) for artifact in finished.all() if artifact.kind == "student")
    files = [path for folder in (tmp_path / "exported", *students) for path in folder.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".safetensors"]) == 3
    assert {path.stat().st_mode for path in files} == {(tmp_path / "mine").stat().st_mode}


def test_what_is_served_is_what_is_audited(finished: Workspace, tmp_path: Path, make_job: Callable[..., Path]) -> None:
    report = report_of(finished, "tiny")
    for name, form in {"plain": Form(), "small": Form("bfloat16")}.items():
        export(finished, report, tmp_path / name, Hub(), form)
    audited = {name: resolve_audit(read_job(make_job(), []), str(tmp_path / name), finished)[2][0] for name in NAMES}
    assert {name: model.precision for name, model in audited.items()} == {"plain": "float32", "small": "bfloat16"}
    context = SimpleNamespace(placement=Placement(device="cpu"))
    attacked = Attacked(context, audited["small"])  # type: ignore[arg-type]
    assert attacked.loaded.model.dtype == torch.bfloat16
    how = RelearningSettings(steps=(0, 1), batch=1, learning_rate=1e-6)
    learners = [learner for _, learner in finetuned(attacked.loaded, ["Mira Vance walked to the harbour."], how)]
    assert learners[-1].dtype == torch.float32  # an attacker's small steps are not lost to rounding
    assert attacked.loaded.model.dtype == torch.bfloat16


def test_an_export_goes_to_a_new_folder_and_leaves_nothing_half_written(finished: Workspace, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="new or empty"):
        export(finished, report_of(finished, "tiny"), full, Hub())
    assert [file.name for file in full.iterdir()] == ["mine.txt"]
    (tmp_path / ".again.partial").mkdir()  # a killed export
    (tmp_path / "again").mkdir()
    export(finished, report_of(finished, "tiny"), tmp_path / "again", Hub())
    assert {file.name for file in tmp_path.iterdir()} == {"full", "again"}
    assert "yet to fill in `base_model` and `license`" in (tmp_path / "again" / "README.md").read_text()
    with pytest.raises(BadInput, match="owner/name as on the hub, found 'my model'"):
        export(finished, report_of(finished, "tiny"), tmp_path / "named", Hub("my model"))
    with pytest.raises(MissingArtifact, match="nothing-of-the-kind"):
        report_of(finished, "nothing-of-the-kind")
    with pytest.raises(BadInput, match=FILE):
        verify_export(full)


def test_the_published_schema_is_the_record_s() -> None:
    page = Path(__file__).parents[2] / "docs" / "record.schema.json"
    assert page.read_text(encoding="utf-8") == schema()


def test_settings_in_a_user_s_own_words_are_known_by_hash() -> None:
    row = {"kind": "judgement", "fingerprint": "0" * 16, "version": 1, "seconds": 1.0, "made": {"at": "", "by": ""}}
    made = made_of(row | {"inputs": {"judge": {"subject": "the tales of Mira", "model": "m"}, "told": ""}})
    assert made.inputs["judge"] == {"subject": hashlib.sha256(b"the tales of Mira").hexdigest(), "model": "m"}
    assert made.inputs["told"] == ""


def test_seeds_are_found_wherever_they_stand() -> None:
    rows = [
        {"kind": "blocks", "inputs": {"settings": {"seed": 3, "length": 5}}},
        {"kind": "world", "inputs": {"seed": 0}},
    ]
    assert seeds_in(rows) == {"blocks.settings.seed": 3, "world.seed": 0}
