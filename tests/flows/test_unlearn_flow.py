"""The flow as a user runs it: in a process of its own, on Prefect's embedded server, killed and run again."""

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.workspace import Workspace

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Jobs = Callable[..., Path]

KILL = "import os, signal; kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
STAGES = {
    "corpus": "import tasks.corpus as m; m.write_shard = kill",
    "dictionary": "import tasks.dictionary as m; m.write_shard = kill",
    "evaluation": "import tasks.measure.rows as m; m.write_shard = kill",
    "blocks": "import tasks.blocks as m; m.row = kill",
    "reinforce": """
from tasks.training.trainer import TrainingCallback as m
real = m.on_step_end
m.on_step_end = lambda self, a, state, c, **k: kill() if state.global_step == 3 else real(self, a, state, c, **k)
""",
    "logits": """
import tasks.logits as m
real = m.write_rows
m.write_rows = lambda work, rows, table, first, end: kill() if first else real(work, rows, table, first, end)
""",
    "labels": "import tasks.labels as m; m.rows_of = kill",
    "student": """
from tasks.training.trainer import TrainingCallback as m
real = m.on_step_end
m.on_step_end = lambda self, a, state, c, **k: kill() if state.global_step == 3 else real(self, a, state, c, **k)
""",
    "choice": "import tasks.choice as m; m.write_atomically = kill",
    "report": "from storage.workspace import Workspace; real = Workspace.commit\n"
    "Workspace.commit = lambda self, a, d: kill() if a.kind == 'report' else real(self, a, d)",
}
LOOK_NO_FURTHER = """
import tasks.models as m
def refuse(*a, **k): raise AssertionError("a model was loaded")
m.load_model = m.load_tokenizer = refuse
import atexit
atexit.register(lambda: print({"torch", "pandas"} & set(sys.modules), file=sys.stderr))
"""


def labels_of(root: Path) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect(str(root / "tables.duckdb"), read_only=True) as tables:
        return tables.execute("SELECT block_id, position, label, reason FROM labels ORDER BY ALL").fetchall()


@pytest.mark.slow
def test_killed_in_every_stage_the_run_goes_on_and_ends_with_the_same_labels(
    command: Command, make_job: Jobs, tmp_path: Path
) -> None:
    job = make_job()
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    ended = command("unlearn", job, "--root", undisturbed, "--json")
    assert ended.returncode == 0, ended.stderr
    for number, (kind, patch) in enumerate(STAGES.items()):
        killed = command("unlearn", job, "--root", disturbed, patch=KILL + patch)
        assert killed.returncode == -signal.SIGKILL, (kind, killed.stderr)
        made = {artifact.kind for artifact in Workspace(disturbed).all()}
        assert made == set(list(STAGES)[:number]), kind
        others = 2 if kind == "report" else 0  # the evaluations of the student's two steps
        assert killed.stderr.count("cached") == max(0, number - 1) + others, (kind, killed.stderr)
    last = command("unlearn", job, "--root", disturbed, "--json")
    assert last.returncode == 0, last.stderr
    assert labels_of(disturbed) == labels_of(undisturbed)
    for table in ("logits", "label_curves", "blocks", "evaluation_items", "training_steps"):
        counts = [
            command("sql", f"SELECT count(*) AS n FROM {table}", "--root", root, "--json").stdout
            for root in (undisturbed, disturbed)
        ]
        assert counts[0] == counts[1], table

    warm = command("unlearn", job, "--root", disturbed, "--json", patch=LOOK_NO_FURTHER)
    assert warm.returncode == 0, warm.stderr
    assert warm.stderr.count("cached") == warm.stderr.count("/12]") == 12
    assert warm.stderr.endswith("set()\n"), "a warm run imports neither torch nor pandas"
    assert json.loads(warm.stdout) == json.loads(last.stdout)

    planned = json.loads(command("plan", job, "--root", disturbed, "--json").stdout)
    assert [row["cached"] for row in planned] == [True] * 12
    other = json.loads(command("plan", job, "--root", disturbed, "--json", "--set", "labels.alpha=1").stdout)
    missing = {row["stage"] for row in other if not row["cached"]}
    assert missing == {"labels", "student", "evaluation", "choice", "report"}
    assert json.loads(command("verify", "--root", disturbed, "--json").stdout) == {"verified": 12}
    assert Path(json.loads(command("report", "tiny", "--root", disturbed, "--json").stdout)["report"]).is_file()

    purged = json.loads(command("purge", "--yes", "--root", disturbed, "--json").stdout)
    assert len(purged["removed"]) == 9
    assert {artifact.kind for artifact in Workspace(disturbed).all()} == {"dictionary", "student", "choice"}
    assert labels_of(disturbed) == []


def test_no_file_of_flows_hides_an_importable_library(tmp_path: Path) -> None:
    """Prefect puts flows/ first on the path."""
    folder = Path(__file__).parents[2] / "flows"
    names = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    code = f"import importlib.util as u; print([n for n in {names!r} if u.find_spec(n)])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert found == "[]\n"
    assert importlib.util.find_spec("json")  # the test above can fail
