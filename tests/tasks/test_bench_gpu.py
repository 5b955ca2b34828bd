"""The script for a GPU runs here, on a tiny shape, with neither Prefect nor lm-eval."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
WITHOUT = """
import runpy, sys
for name in ("prefect", "lm_eval"):
    sys.modules[name] = None
sys.argv = ["gpu.py", *sys.argv[1:]]
runpy.run_path({script!r}, run_name="__main__")
"""


def test_every_figure_is_written_in_the_form_of_bench_json(tmp_path: Path) -> None:
    code = WITHOUT.format(script=str(SCRIPT))
    command = [sys.executable, "-c", code, "--tiny", "--out", str(tmp_path / "bench-gpu.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[2])
    assert ended.returncode == 0, ended.stderr
    written = json.loads((tmp_path / "bench-gpu.json").read_text())
    assert written["tiny"]
    rows = {row["name"]: row for row in written["rows"]}
    assert {"logits_7b", "training_step", "training_mfu", "completions_seconds"} <= rows.keys()
    assert all(row.keys() == {"name", "ratio", "spread", "goal"} and row["ratio"] > 0 for row in rows.values())


def test_without_a_gpu_the_real_shape_is_refused_in_a_sentence(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        return
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "x.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[2])
    assert ended.returncode == 1
    assert "expected a GPU, found none" in ended.stderr
    assert not (tmp_path / "x.json").exists()
