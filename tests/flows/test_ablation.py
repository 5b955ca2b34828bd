"""The halves of the method, each alone: what is taught, what is shared, what is said about it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.ablation import arms, pipeline
from flows.cli.outcomes import ablation_numbers, ablation_table
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline as unlearn_path
from storage.errors import BadInput
from storage.shards import read_shard
from tasks.ablation.arms import ANCHORS, BOTH, REINFORCEMENT, verdict
from tasks.engine.runner import Run
from tasks.measure.intervals import Change, Value
from tasks.measure.results import Measure

Jobs = Callable[..., Path]


@pytest.mark.slow
def test_the_arms_share_everything_but_what_they_leave_out(make_job: Jobs, direct_run: Callable[..., Run]) -> None:
    run, job = direct_run(), read_job(make_job(), [])
    given = resolve(job, run.workspace.hashes)
    unlearn_path(job, given, run)
    before = {artifact.fingerprint for artifact in run.workspace.all()}
    found = ablation_numbers(pipeline(job, given, run), run.workspace)
    new = [artifact.kind for artifact in run.workspace.all() if artifact.fingerprint not in before]
    assert sorted(new) == sorted(
        ["blocks", "logits", "labels", "labels", "student", "student", *["evaluation"] * 4, "ablation", "report"]
    )
    assert found["steps"] == [2, 4]
    for measure in found["measures"]:
        assert set(measure["arms"]) == {BOTH, REINFORCEMENT, ANCHORS}
        assert all(set(values) == {"2", "4"} for values in measure["arms"].values())
    values = {arm: values["4"]["value"] for arm, values in found["measures"][0]["arms"].items()}
    assert len(set(values.values())) == 3  # three different students
    assert "reinforcement only" in ablation_table(found)
    assert "familiarity, probability" in Path(found["page"]).read_text()
    written = json.loads(Path(found["page"]).with_suffix(".json").read_text())
    assert written | {name: found[name] for name in ("page", "report")} == found
    assert "What each half of the method does alone" in Path(found["report"]).read_text()
    made = next(a for a in run.workspace.all() if a.kind == "blocks" and a.fingerprint not in before)
    reads_as_it_is(run.workspace.path(made) / "blocks.arrow")


def reads_as_it_is(untranslated: Path) -> None:
    """Reinforcement alone: nothing translated, nothing forbidden, all but the special and the last tokens train."""
    for row in read_shard(untranslated).to_pylist():
        length = len(row["original_ids"])
        assert row["translated_ids"] == row["original_ids"]
        assert row["mapping"][:-1] == list(range(length - 1))
        assert (row["forbidden_ids"], row["anchors"]) == ([], [])
        assert set(row["reasons"][:-1]) <= {None, "special token"}
        assert row["reasons"][-1] == "end of block"


@pytest.mark.parametrize("change", ["labels.alpha=0", "blocks.translate=false"])
def test_a_job_that_lacks_a_half_cannot_lose_it(make_job: Jobs, change: str) -> None:
    with pytest.raises(BadInput, match="both halves"):
        arms(read_job(make_job(), [change]))


def a_measure(low: float, high: float, metric: str = "familiarity_completion") -> Measure:
    keys = ("step 4", f"{ANCHORS}, step 4")
    values = {key: Value(0.1, 0.0, 0.2, 10) for key in keys}
    return Measure(metric, "", values, {(keys[1], keys[0]): Change((low + high) / 2, low, high, 10)})


@pytest.mark.parametrize(
    ("intervals", "needed"),
    [
        ([(0.1, 0.3)], True),
        ([(0.1, 0.3), (-0.1, 0.1)], True),
        ([(-0.1, 0.1)], None),
        ([(-0.3, -0.1)], False),
        ([(0.1, 0.3), (-0.3, -0.1)], None),
    ],
)
def test_a_part_is_needed_if_more_shows_without_it_and_less_in_no_test(
    intervals: list[tuple[float, float]], needed: bool | None
) -> None:
    measures = [a_measure(low, high) for low, high in intervals] + [a_measure(0.5, 0.6, "accuracy")]
    found = verdict(measures, ANCHORS, 4)
    assert found["needed"] is needed
    assert len(found["sentences"]) == len(intervals)
