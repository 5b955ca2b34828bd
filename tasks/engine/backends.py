"""Where an order is carried out: in this process, in a child, on a Ray cluster, or by a work pool's workers.

Only the place differs: the artifact and its fingerprint are the same everywhere.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from storage import errors
from storage.errors import ChildDied, NepentheError, OutOfMemory
from tasks.engine.call import StageCall, make
from tasks.engine.process import in_child

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 900.0  # how long a server may be out of reach


def execute(call: StageCall, smaller: Callable[[StageCall], None] = lambda call: None) -> None:
    """Make it where its placement says. Out of memory, it goes on with half the micro-batch; `smaller` is told."""
    while True:
        try:
            _place(call)(call)
            return
        except OutOfMemory:
            half = call.placement.micro_batch // 2
            if not half:
                raise
            call = replace(call, placement=call.placement.model_copy(update={"micro_batch": half}))
            smaller(call)


def _place(call: StageCall) -> Callable[[StageCall], Any]:
    if not call.stage.heavy:
        return make
    if call.placement.deployment:
        return in_work_pool
    return make if call.placement.isolation == "inline" else in_child


def in_work_pool(call: StageCall) -> None:
    """Have a work pool's worker make it: a run of the deployment, found again if one is on its way already."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run_id = _patiently(lambda: _running(client, call) or _start(call))
        state = _wait(client, run_id, call)
    if state is None or state.is_completed():
        return
    if state.name in vars(errors) and issubclass(getattr(errors, state.name), NepentheError):
        raise getattr(errors, state.name)(state.message)
    raise ChildDied(f"the run {run_id} of {call.placement.deployment} ended as {state.name}: {state.message}")


def _tag(call: StageCall) -> str:
    where = hashlib.sha256(call.address.encode()).hexdigest()[:8]  # another workspace's run makes nothing in this one
    return f"{call.artifact.kind}-{call.artifact.fingerprint}-{call.part[0] + 1}of{call.part[1]}-{where}"


def _running(client: Any, call: StageCall) -> Any:
    """A run of the same order that an orchestrator before us started and that has not ended."""
    from prefect.client.schemas.filters import FlowRunFilter

    state = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
    asked = FlowRunFilter.model_validate({"tags": {"all_": [_tag(call)]}, "state": state})
    found = client.read_flow_runs(flow_run_filter=asked, limit=1)
    return found[0].id if found else None


def _start(call: StageCall) -> Any:
    from prefect.deployments import run_deployment

    there = call.placement.model_copy(update={"deployment": ""})
    started: Any = run_deployment(
        name=call.placement.deployment,
        parameters={"order": replace(call, placement=there).to_json()},
        flow_run_name=f"{call.artifact.folder.replace('/', ' ')}",
        tags=[call.artifact.kind, _tag(call)],
        timeout=0,
    )
    return started.id


def _wait(client: Any, run_id: Any, call: StageCall) -> Any:
    """The run's last state; None where the artifact is there first."""
    while True:
        state = _patiently(lambda: client.read_flow_run(run_id).state)
        if state is not None and state.is_final():
            return state
        if call.workspace.find(call.artifact.kind, call.artifact.fingerprint):
            return None
        time.sleep(POLL_SECONDS)


def _patiently(ask: Callable[[], Any]) -> Any:
    """What the server answers; one that is away for a while, or whose database is, is asked again."""
    import httpx

    asked = time.monotonic()
    while True:
        try:
            return ask()
        except httpx.TransportError:
            if time.monotonic() - asked > PATIENCE_SECONDS:
                raise
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 500 or time.monotonic() - asked > PATIENCE_SECONDS:
                raise
        time.sleep(POLL_SECONDS)
