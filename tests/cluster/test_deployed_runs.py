"""Runs of the deployments on a server with PostgreSQL, with a worker of each pool."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from comparing import assert_same, journal
from servers import Api, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_job_goes_through_both_pools(
    api: Api, workers: Callable[..., Any], job: dict[str, Any], place: Path, undisturbed: Path
) -> None:
    """From an empty workspace: the flow on the cpu pool, blocks and every stage that loads a model on the gpu pool.

    There is one GPU slot, and two parts of the logits that could be made at the same time.
    """
    workers("cpu")
    workers("gpu")
    root = place / "both-pools"
    with gpu_slots(api, 1):
        assert api.ends(api.start(job | {"placement": job["placement"] | {"workers": 2}}, root), 180) == "Completed"
    assert_same(root, undisturbed)
    made = api.stages(root)
    times = sorted((run["start_time"], run["end_time"]) for run in made)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(times)), "two runs had the one slot"
    assert {run["work_pool_name"] for run in made} == {"gpu"}
    kinds = Counter(run["parameters"]["order"]["artifact"][0] for run in made)
    once = {"blocks": 1, "reinforce": 1, "student": 1}  # the corpus is one shard of blocks
    assert kinds == once | {"evaluation": 2, "logits": 3}  # logits: two parts, and their count


@contextmanager
def gpu_slots(api: Api, number: int) -> Iterator[None]:
    """The global limit of the GPU pool's runs, for a while."""
    deployment = api.ask("GET", "deployments/name/stage/gpu")
    assert deployment["global_concurrency_limit"]["limit"] == 8
    api.ask("PATCH", f"deployments/{deployment['id']}", concurrency_limit=number)
    try:
        yield
    finally:
        api.ask("PATCH", f"deployments/{deployment['id']}", concurrency_limit=8)


def test_a_schedule_fires_and_one_run_a_job_at_a_time(
    api: Api, workers: Callable[..., Any], job: dict[str, Any], without: Callable[..., Path]
) -> None:
    """The schedule of the deployments' file is off; switched on, its runs come, and the second waits for the first."""
    workers("cpu")
    root = without()
    deployment = api.ask("GET", "deployments/name/unlearn/example")
    (weekly,) = deployment["schedules"]
    assert (weekly["active"], weekly["schedule"]["cron"]) == (False, "0 3 * * 0")
    often = {"schedule": {"interval": 4}, "active": True, "parameters": {"job": job, "root": str(root)}}
    schedule = f"deployments/{deployment['id']}/schedules/{weekly['id']}"
    api.ask("PATCH", schedule, **often)

    def runs() -> list[dict[str, Any]]:
        asked = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run for run in api.ask("POST", "flow_runs/filter", **asked) if run["auto_scheduled"]]

    until(lambda: "AwaitingConcurrencySlot" in [run["state_name"] for run in runs()], "a second run that waits", 90)
    first = runs()[0]
    api.ask("PATCH", schedule, active=False)
    assert api.ends(first["id"]) == "Completed"
    assert journal(root, "cached")["report"] >= 1
    assert not journal(root, "made")
    for run in runs()[1:]:
        api.ask("DELETE", f"flow_runs/{run['id']}")
