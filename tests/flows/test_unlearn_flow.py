"""The flow as a user runs it: in a process of its own, on Prefect's embedded server; and killed and run again."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import exit_code
from flows.cli.reports import report_of
from storage.errors import MissingArtifact
from storage.workspace import Workspace

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Jobs = Callable[..., Path]

KILL_IN_EACH = """
import json, os, signal
from flows.cli import quiet_engines, writable_prefect_home
quiet_engines()
writable_prefect_home()
import flows.unlearn, tasks.training.trainer  # once for all runs: each is a fork of this process
from pathlib import Path
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings
from storage.workspace import Workspace

server = SubprocessASGIServer()  # once for all runs, too
server.start()
temporary_settings({PREFECT_API_URL: server.api_url}).__enter__()

def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

root, killed = Path(sys.argv[sys.argv.index("--root") + 1]), []
for stage, patch in STAGES.items():
    said = root.with_name(f"said in {stage}")
    if not os.fork():
        os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
        exec(patch)
        break
    status = os.waitstatus_to_exitcode(os.wait()[1])
    made = sorted({artifact.kind for artifact in Workspace(root).all()})
    killed.append({"stage": stage, "status": status, "made": made, "said": said.read_text()})
else:
    root.with_name("killed.json").write_text(json.dumps(killed))
"""
"""A patch for a command: it is run and killed in each stage, one after the other, and then goes on undisturbed."""
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
    "choice": "import tasks.choice as m; m.write_json = kill",
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


def rows_of(root: Path, query: str) -> list[tuple[Any, ...]]:
    import duckdb

    with duckdb.connect(str(root / "tables.duckdb"), read_only=True) as tables:
        return tables.execute(query).fetchall()


def labels_of(root: Path) -> list[tuple[Any, ...]]:
    return rows_of(root, "SELECT block_id, position, label, reason FROM labels ORDER BY ALL")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, write_job: Jobs) -> Path:
    return write_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def undisturbed(command: Command, job: Path) -> Path:
    """The root of a run that nothing happened to."""
    root = job.with_name("undisturbed")
    ended = command("unlearn", job, "--root", root, "--json")
    assert ended.returncode == 0, ended.stderr
    root.with_name("printed.json").write_text(ended.stdout)
    return root


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`nepenthe ... --json` in this process, for commands that start nothing."""

    def answer(*arguments: str | Path) -> Any:
        monkeypatch.setattr(sys, "argv", ["nepenthe", *map(str, arguments), "--json"])
        assert exit_code() == 0
        return json.loads(capsys.readouterr().out)

    return answer


@pytest.mark.slow
def test_killed_in_every_stage_the_run_goes_on_and_ends_with_the_same_labels(
    command: Command, job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    disturbed = tmp_path / "disturbed"
    last = command("unlearn", job, "--root", disturbed, "--json", patch=f"STAGES = {STAGES!r}\n{KILL_IN_EACH}")
    assert last.returncode == 0, last.stderr
    for number, killed in enumerate(json.loads((tmp_path / "killed.json").read_text())):
        assert killed["status"] == -signal.SIGKILL, killed
        assert killed["made"] == sorted(list(STAGES)[:number]), killed
        others = 2 if killed["stage"] == "report" else 0  # the evaluations of the student's two steps
        assert killed["said"].count("cached") == max(0, number - 1) + others, killed
    assert number == len(STAGES) - 1
    assert labels_of(disturbed) == labels_of(undisturbed)
    for table in ("logits", "label_curves", "blocks", "evaluation_items", "training_steps"):
        counts = [rows_of(root, f"SELECT count(*) FROM {table}") for root in (undisturbed, disturbed)]
        assert counts[0] == counts[1] > [(0,)], table


@pytest.mark.slow
def test_a_finished_run_is_found_planned_verified_shown_and_purged(
    command: Command, answered: Callable[..., Any], job: Path, undisturbed: Path, tmp_path: Path
) -> None:
    warm = command("unlearn", job, "--root", undisturbed, "--json", patch=LOOK_NO_FURTHER)
    assert warm.returncode == 0, warm.stderr
    assert warm.stderr.count("cached") == warm.stderr.count("/12]") == 12
    assert warm.stderr.endswith("set()\n"), "a warm run imports neither torch nor pandas"
    assert json.loads(warm.stdout) == json.loads(undisturbed.with_name("printed.json").read_text())

    planned = answered("plan", job, "--root", undisturbed)
    assert [row["cached"] for row in planned] == [True] * 12
    other = answered("plan", job, "--root", undisturbed, "--set", "labels.alpha=1", "--card", "h200")
    missing = {row["stage"] for row in other if not row["cached"]}
    assert missing == {"labels", "student", "evaluation", "choice", "report"}
    counted = answered("sql", "SELECT count(*) AS n FROM blocks", "--root", undisturbed)
    assert counted == [{"n": rows_of(undisturbed, "SELECT count(*) FROM blocks")[0][0]}]
    assert answered("verify", "--root", undisturbed) == {"verified": 12, "damaged": {}}
    assert Path(answered("report", "tiny", "--root", undisturbed)["report"]).is_file()

    root = shutil.copytree(undisturbed, tmp_path / "purged")
    purged = answered("purge", "--yes", "--root", root)
    assert len(purged["removed"]) == 9
    assert {artifact.kind for artifact in Workspace(root).all()} == {"dictionary", "student", "choice"}
    assert labels_of(root) == []
    with pytest.raises(MissingArtifact, match="export and evidence belong before a purge"):
        report_of(Workspace(root), "tiny")


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
