"""The real experiment, whole, on a tiny model: what it prints has the form that is promised."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.outcomes import over_seeds, real_table, relearned_at_worst, summary
from flows.unlearn import Outcome
from storage.artifact import Artifact
from storage.workspace import Workspace
from tasks.contents import REPORT_EVIDENCE, write_json
from tasks.measure.rows import Item, mean_of, write_measures

TINY = """
from flows.cli import quiet_engines, writable_prefect_home
quiet_engines()
writable_prefect_home()
import dataclasses, flows.real, tasks.engine.backends, tasks.engine.call
tasks.engine.backends.in_child = tasks.engine.call.make  # two dozen children would import torch
flows.real.SMALL = dataclasses.replace(
    flows.real.SMALL, names=2, elicit={"rounds": 1, "times": 1, "tokens": 20}, length=32, batch=4,
    paper={"steps": 2, "keep": (1,)}, ours={"steps": 2, "keep": (1,), "hardening": 9.0, "retain": 0.5},
    suite={"new_tokens": 4, "window": 64, "windows": 2},
    relearning={"documents": 2, "steps": (0, 2), "batch": 2, "length": 16},
)
"""


@pytest.mark.slow
def test_the_whole_experiment_on_a_tiny_model(
    command: Callable[..., "subprocess.CompletedProcess[str]"], tiny_model: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    ended = command(
        "real", "--model", tiny_model, "--root", root, "--seed", "1", "--rate", "2e-4", "--json", patch=TINY
    )
    assert ended.returncode == 0, ended.stderr
    numbers = json.loads(ended.stdout)
    for model in ("baseline", "paper", "unlearned"):
        assert {"familiarity_probability", "familiarity_completion", "perplexity", "benchmarks"} <= numbers[
            model
        ].keys()
        assert list(numbers[model]["relearned"]) == ["0", "2"]
    assert numbers["baseline"]["relearned"]["0"] == numbers["baseline"]["familiarity_probability"]
    assert numbers["invented names"].keys() == {"relearned"}
    assert list(numbers["steps"]["paper"]) == ["0", "1", "2"]
    assert Path(numbers["report"]).is_file()
    students = [json.loads(path.read_text()) for path in root.glob("student/*/record.json")]
    rates = {(r["inputs"]["settings"]["hardening"], r["inputs"]["settings"]["learning_rate"]) for r in students}
    assert rates == {(0.0, 1e-6), (9.0, 2e-4)}, "the rate is that of our recipe alone"
    records = [json.loads(path.read_text()) for path in root.glob("relearning/*/record.json")]
    tried = {
        (r["inputs"]["suspect"]["role"], r["inputs"]["source"], r["inputs"]["settings"]["learning_rate"])
        for r in records
    }
    assert len(tried) == len({rate for _, _, rate in tried}) * 3 == 9, "a model and a source at each of three rates"


def numbers_of(familiarity: float, after: float) -> dict[str, Any]:
    """An experiment as `nepenthe real --json` prints it."""
    model = {"familiarity_probability": familiarity, "perplexity": 14.0, "benchmarks": {"arc_easy": 0.5}}
    models = {
        name: model | {"relearned": {"0": familiarity, "40": after}} for name in ("baseline", "paper", "unlearned")
    }
    models["invented names"] = {"relearned": {"0": 0.0, "40": 0.01}}
    steps = {"paper": {"0": model, "8": model}, "unlearned": {"0": model, "12": model}}
    return models | {"steps": steps, "report": f"/report-{familiarity}", "model": "/model"}


def test_at_every_mark_the_rate_counts_that_has_brought_most_back_by_then(tmp_path: Path) -> None:
    workspace, attacks = Workspace(tmp_path), []
    for number, curve in enumerate(((0.1, 0.5, 0.6), (0.1, 0.2, 0.9))):
        attack = Artifact("relearning", "x", f"{number:016x}")
        measures = [
            mean_of("relearned_familiarity", [Item(0, "", "", "", value)], f"target {step}")
            for step, value in zip((0, 10, 40), curve, strict=True)
        ]
        write_measures(workspace.resume(attack), "student", 8, measures)
        workspace.commit(attack, {"holds_protected_text": True})
        attacks.append(attack)
    assert relearned_at_worst(tuple(attacks), workspace) == {"0": 0.1, "10": 0.5, "40": 0.9}


def test_several_seeds_are_their_means_beside_the_lowest_and_the_highest() -> None:
    numbers = over_seeds([numbers_of(0.002, 0.1), numbers_of(0.004, 0.16), numbers_of(0.003, 0.1)])
    assert numbers["unlearned"]["familiarity_probability"] == pytest.approx(0.003)
    assert numbers["unlearned"]["relearned"] == pytest.approx({"0": 0.003, "40": 0.12})
    assert numbers["steps"]["paper"]["8"]["benchmarks"] == {"arc_easy": 0.5}
    assert (numbers["seeds"], numbers["report"]) == (3, "/report-0.002")
    assert numbers["spread"]["unlearned"]["relearned"]["40"] == [0.1, 0.16]
    shown = real_table(numbers)
    assert "lowest and highest of 3 seeds" in shown
    assert "0.0020 to 0.0040" in shown
    assert "0.1000 to 0.1600" in shown
    assert shown.count("\narc_easy ") == 3


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [({}, {}), ({"earlier": [{"job": "a", "headline": "Gone."}]}, {"earlier": {"a": "Gone."}})],
)
def test_a_report_of_an_earlier_release_is_summed_up_as_a_new_one_is(
    tmp_path: Path, evidence: dict[str, Any], expected: dict[str, Any]
) -> None:
    workspace, page = Workspace(tmp_path), Artifact("report", "old", "0" * 16)
    write_json(workspace.resume(page) / REPORT_EVIDENCE, evidence)
    workspace.commit(page, {"version": 4, "inputs": {}, "counts": {}, "seconds": 1.0})
    numbers = summary(Outcome("/model", 3, (), page), workspace)
    assert numbers.items() >= ({"step": 3, "model": "/model"} | expected).items()
    assert expected.keys() == numbers.keys() - {"step", "model", "report"}


def test_one_seed_stays_as_it_is() -> None:
    one = numbers_of(0.002, 0.1)
    assert over_seeds([one]) == one
    assert "seeds" not in real_table(one)
