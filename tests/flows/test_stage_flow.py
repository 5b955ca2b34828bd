"""What backends send to a worker is what the worker takes: from that alone it makes the artifact."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flows.stage import stage as deployed
from storage.errors import BadInput
from storage.workspace import Workspace
from tasks.engine import backends
from tasks.engine.call import StageCall
from tasks.engine.stage import Context, Counts, Placement, stage


@stage("sent", version=1, heavy=True)
def sent(context: Context, number: int) -> Counts:
    """Refuses what is below zero."""
    if number < 0:
        raise BadInput("expected a number from zero on")
    return {"number": number}


def call_of(root: Path, number: int, **placement: Any) -> StageCall:
    inputs = sent.inputs(number)
    artifact = sent.artifact("some", inputs)
    return StageCall(sent, artifact, inputs, Workspace(root).address, Placement(isolation="inline", **placement))


@pytest.mark.parametrize(("number", "ends"), [(3, "Completed"), (-3, "BadInput")])
def test_the_deployment_makes_what_the_work_pool_sends(
    number: int, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []

    def run_deployment(parameters: dict[str, Any], **_: Any) -> Any:
        states.append(deployed.fn(**deployed.validate_parameters(parameters)))
        return SimpleNamespace(id="a run")

    monkeypatch.setattr("prefect.deployments.run_deployment", run_deployment)
    call = call_of(tmp_path, number, deployment="stage/gpu")
    assert backends._start(call) == "a run"
    assert [state.name for state in states] == [ends]
    assert (Workspace(tmp_path).find("sent", call.artifact.fingerprint) is not None) == (ends == "Completed")


def test_a_ray_worker_makes_what_the_cluster_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Runner:
        def submit(self, task: Any, parameters: dict[str, Any]) -> Any:
            task.fn(**parameters)
            return SimpleNamespace(result=lambda: None)

    context = ModuleType("prefect_ray.context")
    context.__dict__["remote_options"] = lambda **_: nullcontext()
    monkeypatch.setitem(sys.modules, "prefect_ray", ModuleType("prefect_ray"))
    monkeypatch.setitem(sys.modules, "prefect_ray.context", context)
    cluster = backends.Ray(Placement(ray="local"))
    monkeypatch.setitem(vars(cluster), "_runner", Runner())
    call = call_of(tmp_path, 3, ray="local")
    cluster.execute(call)
    assert Workspace(tmp_path).find("sent", call.artifact.fingerprint)
