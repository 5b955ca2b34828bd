"""Precision by device: resolved before anything is named, so that what is made says what it was made in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import evaluate, make_target, plan, references
from storage.artifact import canonical
from storage.workspace import Workspace
from tasks.contents import evaluation_rows
from tasks.engine.call import StageCall
from tasks.engine.runner import Run
from tasks.engine.stage import Placement
from tasks.evaluation import evaluation
from tasks.logits import LogitsSettings

Jobs = Callable[..., Path]


@pytest.mark.parametrize(
    ("placement", "has_gpu", "resolved"),
    [
        ({"device": "cpu"}, True, "float32"),
        ({"device": "cuda"}, False, "bfloat16"),
        ({}, False, "float32"),
        ({}, True, "bfloat16"),
        ({"gpus": 1}, False, "bfloat16"),  # Ray's workers have them
    ],
)
def test_auto_is_bfloat16_on_a_gpu_and_float32_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, placement: dict[str, str], has_gpu: bool, resolved: str
) -> None:
    monkeypatch.setattr("tasks.engine.stage.gpu_here", lambda: has_gpu)
    where = Placement(**placement)
    assert where.precision("auto") == resolved
    assert where.precision("float16") == "float16"
    assert LogitsSettings().on(where).precision == resolved


def addresses(job: Path, root: Path, *changes: str) -> dict[str, str]:
    """The address of logits and evaluation of the baseline, which depend on nothing that is yet to be trained."""
    asked, workspace = read_job(job, list(changes)), Workspace(root)
    steps = plan(asked, resolve(asked, workspace.hashes), workspace).steps
    return {step.stage.kind: step.artifact.fingerprint for step in reversed(steps)}


def test_what_is_made_is_known_by_the_precision_that_auto_came_to(make_job: Jobs, tmp_path: Path) -> None:
    job = make_job()  # on the CPU
    by_default = addresses(job, tmp_path)
    explicit = addresses(job, tmp_path, "logits.precision=float32", "evaluation.precision=float32")
    on_gpu = addresses(job, tmp_path, "placement.device=cuda")
    bfloat16 = addresses(job, tmp_path, "logits.precision=bfloat16", "evaluation.precision=bfloat16")
    assert by_default == explicit
    assert on_gpu == bfloat16
    assert {kind for kind in by_default if by_default[kind] != bfloat16[kind]} == {
        "logits", "labels", "student", "evaluation", "choice", "report"
    }  # fmt: skip


def test_an_evaluation_in_bfloat16_says_so_and_measures_in_it(make_job: Jobs, direct_run: Callable[..., Run]) -> None:
    run, values = direct_run(), {}
    for precision in ("float32", "bfloat16"):
        job = read_job(make_job(), [f"evaluation.precision={precision}"])
        given = resolve(job, run.workspace.hashes)
        assert ("precision" in canonical(given.evidence)) == (precision == "bfloat16")  # type: ignore[operator]
        target = make_target(job, given, run)
        (made,) = evaluate(job, given, target, references(given), run)
        inputs = evaluation.inputs(given.baseline, "baseline", None, *target, given.evidence, job.evaluation.suite)
        call = StageCall(evaluation, made, inputs, str(run.workspace.root), Placement())
        assert StageCall.from_json(call.to_json()).inputs["evidence"].precision == precision
        rows = evaluation_rows(run.workspace.path(made))
        values[precision] = next(row["value"] for row in rows if row["metric"] == "familiarity_probability")
    assert values["bfloat16"] != values["float32"]
    assert values["bfloat16"] == pytest.approx(values["float32"], rel=0.1)
