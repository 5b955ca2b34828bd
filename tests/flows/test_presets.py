"""Presets fill in what a job does not say, and text to retain comes with its share or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.inputs import resolve
from flows.job import Job, changed, job_of, read_job
from flows.unlearn import plan
from storage.errors import BadInput
from storage.files import Hashes
from storage.workspace import Workspace

LEAST: dict[str, Any] = {"model": "m", "corpus": {"paths": ["c"]}, "dictionary": {"curated": ["d"]}}


def job(**values: Any) -> Job:
    return job_of(LEAST | values)


def test_without_a_preset_a_job_has_the_paper_s_settings() -> None:
    assert (job().labels.soft, job().student.steps, job().student.retain) == (0.0, 150, 0.0)
    assert job(preset="paper").model_dump() == job().model_dump()


def test_durable_fills_in_what_the_job_does_not_say() -> None:
    found = job(preset="durable", student={"steps": 40}, labels={"alpha": 2})
    assert (found.labels.soft, found.labels.alpha) == (1.0, 2)
    assert (found.student.steps, found.student.learning_rate, found.student.hardening) == (40, 2e-6, 3)


def test_durable_retains_only_where_the_job_names_text_for_it() -> None:
    alone, both = job(preset="durable").student, job(preset="durable", retain={"paths": ["r"]}).student
    assert (alone.retain, both.retain) == (0, 0.5)
    assert both.steps * (1 - both.retain) == alone.steps  # as many blocks of the target
    assert job(preset="durable", retain={"paths": ["r"]}, student={"retain": 0.25}).student.retain == 0.25


def test_another_preset_and_what_is_no_section_are_refused() -> None:
    with pytest.raises(BadInput, match="preset: expected one of paper, durable, found 'thorough'"):
        job(preset="thorough")
    with pytest.raises(BadInput, match="labels"):
        job(preset="durable", labels="soft")


def test_a_finished_job_can_be_changed_to_another_preset() -> None:
    before = job(student={"steps": 40})
    after = changed(before, ["preset=durable"])
    assert (after.labels.soft, after.student.steps) == (1.0, 40)
    assert (
        changed(before, ["labels.alpha=3"]).model_dump() == job(student={"steps": 40}, labels={"alpha": 3}).model_dump()
    )


@pytest.mark.parametrize("alone", ["paths", "share"])
def test_text_to_retain_needs_its_share_and_the_other_way_round(
    alone: str, make_job: Callable[..., Path], tmp_path: Path
) -> None:
    text = tmp_path / "kept.txt"
    text.write_text("The old baker closed his door.")
    changes = {"paths": [f'retain.paths=["{text}"]'], "share": ["student.retain=0.5"]}
    hashes = Hashes(tmp_path / "hashes.json")
    with pytest.raises(BadInput, match=r"expected retain\.paths.*together with student\.retain"):
        resolve(read_job(make_job(), changes[alone]), hashes)
    assert resolve(read_job(make_job(), [*changes["paths"], *changes["share"]]), hashes).retain.paths == (str(text),)


def test_the_student_is_given_only_what_its_settings_ask_for(make_job: Callable[..., Path], tmp_path: Path) -> None:
    text = tmp_path / "kept.txt"
    text.write_text("The old baker closed his door.")
    workspace = Workspace(tmp_path / "ws")

    def given_to_the_student(*changes: str) -> dict[str, Any]:
        asked = read_job(make_job(), list(changes))
        steps = plan(asked, resolve(asked, workspace.hashes), workspace).steps
        return next(step.inputs for step in steps if step.stage.kind == "student")

    plain = given_to_the_student()
    assert (plain["retained"], plain["reinforced"]) == (None, None)
    found = given_to_the_student(f'retain.paths=["{text}"]', "student.retain=0.5", "student.hardening=1")
    assert found["retained"].kind == "retained"
    assert found["reinforced"].path.endswith("steps/last")
    found = given_to_the_student(f'retain.paths=["{text}"]', 'retain.labels="baseline"', "student.retain=0.5")
    assert found["retained"].kind == "retained_labels"
