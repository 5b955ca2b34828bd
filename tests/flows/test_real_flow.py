"""The real experiment, whole, on a tiny model: what it prints has the form that is promised."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = """
from flows.cli import quiet_engines, writable_prefect_home
quiet_engines()
writable_prefect_home()
import dataclasses, flows.real, tasks.engine.backends, tasks.engine.call
tasks.engine.backends.in_child = tasks.engine.call.make  # two dozen children would import torch
flows.real.SMALL = dataclasses.replace(
    flows.real.SMALL, names=2, tokens=20, length=32, batch=4,
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
    ended = command("real", "--model", tiny_model, "--root", root, "--seed", "1", "--json", patch=TINY)
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
    records = [json.loads(path.read_text()) for path in root.glob("relearning/*/record.json")]
    tried = {
        (r["inputs"]["suspect"]["role"], r["inputs"]["source"], r["inputs"]["settings"]["learning_rate"])
        for r in records
    }
    assert len(tried) == len({rate for _, _, rate in tried}) * 3 == 9, "a model and a source at each of three rates"
