"""Runs of the deployments on a server with PostgreSQL, with a worker of each pool."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import assert_same
from servers import DEPLOY, Api, PrefectServer, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]
Workers = Callable[..., Any]


def test_a_job_goes_through_both_pools(
    api: Api, workers: Workers, job: dict[str, Any], place: Path, undisturbed: Path
) -> None:
    workers("cpu")
    workers("gpu")
    root = place / "both-pools"
    assert api.ends(api.start(job, root), 180) == "Completed"
    assert_same(root, undisturbed)
    made = api.stages(root)
    assert {run["work_pool_name"] for run in made} == {"gpu"}
    kinds = sorted(run["parameters"]["order"]["artifact"][0] for run in made)
    assert kinds == ["evaluation", "evaluation", "logits", "reinforce", "student"]
