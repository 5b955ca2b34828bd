"""Every fault is caused, and then the run is done: nothing twice, nothing missing, the same labels."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import assert_same, journal
from servers import Api, Postgres, PrefectServer, Program, kill_run, processes_of, until

from storage.workspace import Workspace

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]
Without = Callable[..., Path]
Workers = Callable[..., Program]


def parts(root: Path, kind: str) -> list[Path]:
    """The shards or checkpoints of an artifact that is being made."""
    pattern = "logits-*.parquet" if kind == "logits" else "checkpoint*"
    return [path for one in Workspace(root).partials() for path in Workspace(root).partial(one).rglob(pattern)]


def under_way(api: Api, root: Path, kind: str) -> str:
    """Wait until some of it is there, the rest not. The id of its run, asked for before: what follows is quick."""
    until(lambda: api.stages(root, kind), f"{kind} to be started", 90, every=0.1)
    run: str = api.stages(root, kind)[0]["id"]
    until(lambda: len(parts(root, kind)) > 1, f"{kind} to be under way", 90, every=0.02)
    return run


@pytest.fixture(scope="module")
def lost(api: Api, workers: Workers, job: dict[str, Any], without: Without) -> tuple[Path, str]:
    """A machine of the gpu pool that went in the middle of its work: the workspace, and the run that waits for it.

    Comes first, since the server needs a while to know; the other tests' gpu worker is another machine.
    """
    workers("cpu")
    root = without("logits")
    run = api.start(job, root, "unlearn/example")
    machine = workers("gpu")
    stage = under_way(api, root, "logits")
    kill_run(stage, signal.SIGSTOP)  # or it would be done before the server has heard of it
    until(lambda: api.ask("POST", "events/filter", filter=heartbeat(stage))["events"], "a heartbeat", every=0.1)
    machine.end(signal.SIGKILL)  # with all that it had started
    until(lambda: not processes_of(stage), "the end of the run's processes")
    workers("gpu")
    return root, run


def heartbeat(run: str) -> dict[str, Any]:
    """A filter for the heartbeats of a run."""
    return {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}


@pytest.fixture(scope="module", autouse=True)
def pools(lost: tuple[Path, str], workers: Workers) -> None:
    """A worker of each pool."""
    workers("cpu")
    workers("gpu")


def test_a_gpu_process_killed_during_logits_is_started_again_and_goes_on(
    api: Api, job: dict[str, Any], without: Without, undisturbed: Path
) -> None:
    root = without("logits")
    run = api.start(job, root)
    kill_run(under_way(api, root, "logits"))
    before = {path.name: path.stat().st_mtime_ns for path in parts(root, "logits")}
    assert api.ends(run) == "Completed"
    assert [one["state_name"] for one in api.stages(root)] == ["Crashed", "Completed"]
    after = {path.name: path.stat().st_mtime_ns for path in root.glob("logits/*/*.parquet")}
    assert before == {name: after[name] for name in before}, "finished shards were made again"
    assert_same(root, undisturbed)


def test_a_gpu_process_killed_during_training_fails_the_run_and_a_retry_in_the_ui_finishes_it(
    api: Api, job: dict[str, Any], without: Without, undisturbed: Path
) -> None:
    root = without("student")
    run = api.start(job | {"placement": job["placement"] | {"retries": 0}}, root)
    kill_run(under_way(api, root, "student"))
    assert api.ends(run) == "Failed"
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}  # what the button sends
    api.ask("POST", f"flow_runs/{run}/set_state", state=state, force=False)
    until(lambda: api.state(run)["name"] != "Failed", "the retry")
    assert api.ends(run) == "Completed"
    assert_same(root, undisturbed)


def test_an_orchestrator_killed_is_retried_by_the_command_and_finds_its_stage_done(
    api: Api, prefect: PrefectServer, job: dict[str, Any], without: Without, undisturbed: Path
) -> None:
    root = without("logits")
    run = api.start(job, root)
    under_way(api, root, "logits")
    kill_run(run)
    assert api.ends(run) == "Crashed"
    prefect.command("prefect", "flow-run", "retry", run)
    assert api.ends(run) == "Completed"
    assert [one["state_name"] for one in api.stages(root)] == ["Completed"]
    assert_same(root, undisturbed)


def test_server_and_database_are_stopped_and_started_during_a_run(
    api: Api, postgres: Postgres, prefect: PrefectServer, job: dict[str, Any], without: Without, undisturbed: Path
) -> None:
    """The server is away when one stage ends and the next one would start, the database in the middle of a training."""
    root = without("logits", "student")
    run = api.start(job, root)
    under_way(api, root, "logits")
    prefect.end()
    until(lambda: not parts(root, "logits"), "the logits to be finished without a server", 90)
    time.sleep(3)
    prefect.start()
    under_way(api, root, "student")
    postgres.end()
    time.sleep(3)
    postgres.start()
    assert api.ends(run) == "Completed"
    assert_same(root, undisturbed)


def test_a_machine_that_is_gone_for_good_is_replaced_by_another(
    api: Api, lost: tuple[Path, str], undisturbed: Path
) -> None:
    root, run = lost
    assert api.ends(run, 400) == "Completed"
    lost_stage, _ = api.stages(root)
    assert lost_stage["state_name"] == "Crashed"
    assert "No heartbeat" in lost_stage["state"]["message"]
    assert_same(root, undisturbed)


def test_of_two_runs_of_a_job_at_once_one_makes_each_artifact(
    api: Api, job: dict[str, Any], without: Without, undisturbed: Path
) -> None:
    root = without("logits", "student")
    runs = [api.start(job, root, f"unlearn/{name}") for name in ("cpu", "example")]
    assert [api.ends(run) for run in runs] == ["Completed", "Completed"]
    assert journal(root, "made") == {"logits": 1, "student": 1}
    assert_same(root, undisturbed)
