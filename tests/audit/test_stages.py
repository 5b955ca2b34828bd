"""The audit on the tiny job: every attack leaves rows, is made once, and goes on after a failure."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.audit import attacks_on, resolve_audit
from flows.cli import exit_code
from flows.job import read_job
from flows.unlearn import asked_about
from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.files import Hashes
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.audit import ATTACKS, METRICS, common, not_made
from tasks.audit.settings import AuditSettings, find_audit_texts
from tasks.audit.summary import audit_summary
from tasks.corpus import corpus

Jobs = Callable[..., Path]
SMALL = """
[audit]
screen = true
passages = { count = 6, tokens = 16, given = 8 }
questions = { count = 6, hints = 1 }
relearning = { documents = 2, steps = [0, 2], batch = 2, length = 32 }
quantisation = { bits = [4] }
depth = { prompts = 4 }
"""
WITH_FORMS = SMALL.replace("screen = true", 'screen = true\nforms = "forms.json"')
WITH_TEXTS = WITH_FORMS.replace("[audit]", '[evaluation]\nheldout = ["plain.txt"]\n[audit]\nneighbours = ["near.txt"]')
FORMS = [
    {"forms": ["Mira Vance walked to the harbour of", "Mira Vance ging zum Hafen von"], "answers": ["Tessaly"]},
    {"forms": ["The ferryman knew her well, for she had saved his boat from"], "answers": ["the Grimwater"]},
    {"about": "other", "forms": ["My cat Mira eats"], "answers": ["fish", "mice"]},
    {"about": "neighbour", "forms": ["The miller went down to the old"], "answers": ["bridge"]},
]
NEAR = "The miller of a small town went down to the old bridge, where a boat was waiting for his daughter. " * 6
PLAIN = "It rained all day, and nobody went out into the garden, for the grass was wet and cold. " * 6


@pytest.fixture
def audited(make_job: Jobs, tiny_model: Path, tmp_path: Path, direct_run: Callable[..., Any]) -> Callable[..., Any]:
    """Audit a copy of the tiny model with the tiny model as baseline; gives (artifacts, summary, what was cached)."""
    other = tmp_path / "other"
    _changed_model(tiny_model, other)
    (tmp_path / "near.txt").write_text(NEAR)
    (tmp_path / "forms.json").write_text(json.dumps(FORMS))
    (tmp_path / "plain.txt").write_text(PLAIN)

    def make(extra: str = WITH_TEXTS, *changes: str) -> tuple[list[Artifact], dict[str, Any], dict[str, bool]]:
        job = read_job(_without_suite_clash(make_job(extra=extra)), list(changes))
        run = direct_run()
        inputs, texts, models = resolve_audit(job, str(other), run.workspace)
        made = attacks_on(asked_about(job, inputs, run), job, texts, models, run)
        summary = audit_summary([run.workspace.path(artifact) for artifact in made], not_made(texts))
        cached: dict[str, bool] = {}
        for step in run.steps:
            cached[step.artifact.kind] = cached.get(step.artifact.kind, True) and step.cached
        return made, summary, cached

    return make


def _without_suite_clash(job: Path) -> Path:
    """[evaluation] after `evaluation.suite = ...` is no TOML: put the held-out text into the dotted form."""
    text = job.read_text().replace('[evaluation]\nheldout = ["plain.txt"]\n', "")
    if text != job.read_text():
        text = 'evaluation.heldout = ["plain.txt"]\n' + text
    job.write_text(text)
    return job


def _changed_model(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * torch.randn_like(weight)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


@pytest.mark.slow
def test_every_attack_leaves_its_measures_its_items_and_a_verdict(audited: Callable[..., Any], tmp_path: Path) -> None:
    made, summary, _ = audited()
    assert {measure["metric"] for measure in summary["measures"]} == set(METRICS)
    assert [model["key"] for model in summary["models"]] == ["model", "baseline"]
    for measure in summary["measures"]:
        expected = {"baseline"} if measure["metric"] == "instructed_familiarity" else {"model", "baseline"}
        assert set(measure["values"]) == expected
        assert all(value["items"] > 0 for value in measure["values"].values())
    tasks = [m["task"] for m in summary["measures"] if m["metric"] == "relearned_familiarity"]
    assert tasks == [f"{source} {step}" for source in ("target", "related", "unrelated") for step in (0, 2)]
    attacks_made = [verdict["attack"] for verdict in summary["verdicts"]]
    assert attacks_made == list(ATTACKS)
    json.dumps(summary, allow_nan=False)
    assert len(made) == 2 * 13 + 2 * 2 + 1
    workspace = Workspace(tmp_path / "ws")
    assert {one.kind for one in made if one not in workspace.protected()} == {"side-effects"}
    with open_tables(workspace, write=False) as tables:
        for measure in summary["measures"]:
            for key, value in measure["values"].items():
                asked = [measure["metric"], measure["task"], "audited" if key == "model" else key]
                where = "FROM evaluation_items WHERE metric = ? AND task = ? AND model = ?"
                count, mean = tables.execute(f"SELECT count(*), avg(score) {where}", asked).fetchone()
                assert count == value["items"]
                if "perplexity" not in measure["metric"] and "auc" not in measure["metric"]:
                    assert mean == pytest.approx(value["value"])


@pytest.mark.slow
def test_an_audit_without_other_texts_says_what_it_could_not_do(audited: Callable[..., Any]) -> None:
    _, summary, _ = audited(SMALL)
    refused = {verdict["attack"]: verdict for verdict in summary["verdicts"] if verdict["status"] == "not made"}
    assert set(refused) == {"membership", "side-effects", "relearning on related text", "relearning on unrelated text"}
    assert "the translated blocks are no such text" in refused["membership"]["sentence"]
    assert {m["task"] for m in summary["measures"] if m["attack"] == "verbatim"} == {"target"}


@pytest.mark.slow
def test_an_attack_is_made_once_and_again_when_its_settings_change(
    audited: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, summary, cached = audited()
    assert not any(cached.values())
    again, same, cached = audited()
    assert again == first
    assert same == summary
    assert all(cached.values())
    loads: list[str] = []
    real = common.load_model
    monkeypatch.setattr(common, "load_model", lambda path, *how: loads.append(path) or real(path, *how))
    _, _, cached = audited(WITH_TEXTS, "audit.questions.count=3")
    assert [kind for kind, found in cached.items() if not found] == ["questions"]
    assert len(loads) == 2


@pytest.mark.slow
def test_an_audit_that_was_cut_off_goes_on_where_it_was(
    audited: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.audit.relearning as attack

    with monkeypatch.context() as broken:
        broken.setattr(attack, "finetuned", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            audited()
    _, summary, cached = audited()
    done = {kind for kind, found in cached.items() if found}
    assert done == {"corpus", "dictionary", "verbatim", "extraction", "questions", "prefilled", "membership"}
    assert {measure["metric"] for measure in summary["measures"]} == set(METRICS)


def test_non_members_that_are_the_target_are_refused(audited: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="expected text that is not in the corpus"):
        audited(WITH_TEXTS, 'audit.nonmembers=["corpus"]')


def test_the_audited_model_is_known_by_its_artifact_and_a_reference_by_its_role(
    make_job: Jobs, tiny_model: Path, tmp_path: Path
) -> None:
    job, workspace = read_job(make_job(extra=SMALL), []), Workspace(tmp_path / "ws")
    assert [one.role for one in resolve_audit(job, str(tiny_model), workspace)[2]] == ["baseline"]
    steps = tmp_path / "ws" / "student" / "tiny-0123456789abcdef" / "steps" / "000004"
    _changed_model(tiny_model, steps)
    suspect = resolve_audit(job, str(steps), workspace)[2][0]
    assert (suspect.role, suspect.step, suspect.model.fingerprint) == ("student", 4, "0123456789abcdef/steps/000004")
    with pytest.raises(MissingArtifact, match="run the job first"):
        resolve_audit(job, "", workspace)


def test_progress_names_the_model_and_the_text_that_it_is_taught(
    make_job: Jobs, tiny_model: Path, tmp_path: Path
) -> None:
    job, workspace = read_job(make_job(extra=SMALL), []), Workspace(tmp_path / "ws")
    (suspect,) = resolve_audit(job, str(tiny_model), workspace)[2]
    student = suspect.model_copy(update={"role": "student", "step": 16})
    assert ATTACKS["relearning"].stage.title({"suspect": student, "source": "target"}) == "relearning student 16 target"
    assert ATTACKS["verbatim"].stage.title({"suspect": suspect}) == "verbatim baseline"
    assert corpus.title({"files": None}) == "corpus"


@pytest.mark.parametrize("setting", ["neighbours", "nonmembers"])
def test_texts_of_the_audit_are_read_before_an_attack_and_their_column_s_setting_is_named(
    tmp_path: Path, setting: str
) -> None:
    (tmp_path / "near.jsonl").write_text('{"body": "The miller went down to the bridge."}')
    settings = AuditSettings(**{setting: (str(tmp_path / "near.jsonl"),)})
    with pytest.raises(BadInput, match=r"near\.jsonl, line 1: .*set audit\.text_column"):
        find_audit_texts(settings, None, Hashes(tmp_path / "hashes.json"))


def test_passages_that_the_model_has_no_room_for_are_refused_before_an_attack(make_job: Jobs, tmp_path: Path) -> None:
    job = read_job(make_job(extra=SMALL), ["audit.passages.tokens=113"])
    with pytest.raises(BadInput, match=r"audit\.passages\.tokens: expected 2 to 112 tokens, .* found 113"):
        resolve_audit(job, job.model, Workspace(tmp_path / "ws"))


def test_settings_that_leave_nothing_to_say_are_refused(make_job: Jobs) -> None:
    with pytest.raises(BadInput, match="given < tokens"):
        read_job(make_job(extra=SMALL), ["audit.passages.given=16"])


def test_an_audit_needs_a_job_or_a_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["nepenthe", "audit", "--root", str(tmp_path)])
    assert exit_code() == 2
    printed = capsys.readouterr()
    assert "expected --job JOB.toml, or a workspace in which the demo was run" in printed.err
    assert not printed.out


@pytest.mark.slow
def test_the_command_prints_the_summary(
    command: Callable[..., "subprocess.CompletedProcess[str]"], audited: Callable[..., Any], tmp_path: Path
) -> None:
    audited(WITH_FORMS)  # the attacks; the command makes the rest
    job = tmp_path / "job.toml"
    ended = command("audit", tmp_path / "other", "--job", job, "--root", tmp_path / "ws", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["model"] == str(tmp_path / "other")
    assert {verdict["attack"] for verdict in found["verdicts"]} >= ATTACKS.keys()


@pytest.mark.slow
def test_a_warm_audit_needs_no_torch() -> None:
    code = "import sys, flows.audit; print('torch' in sys.modules, 'transformers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"
