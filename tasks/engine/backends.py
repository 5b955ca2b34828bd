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
from tasks.engine.call import Order, make
from tasks.engine.process import make_in_child

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 900.0  # how long a server may be out of reach


def carry_out(order: Order, smaller: Callable[[Order], None] = lambda order: None) -> None:
    """Make it where its placement says. Out of memory, it goes on with half the micro-batch; `smaller` is told."""
    while True:
        try:
            _place(order)(order)
            return
        except OutOfMemory:
            half = order.placement.micro_batch // 2
            if not half:
                raise
            order = replace(order, placement=order.placement.model_copy(update={"micro_batch": half}))
            smaller(order)


def _place(order: Order) -> Callable[[Order], Any]:
    if not order.stage.heavy:
        return make
    if order.placement.deployment:
        return by_deployment
    return make if order.placement.isolation == "inline" else make_in_child


def by_deployment(order: Order) -> None:
    """Have a work pool's worker make it: a run of the deployment, found again if one is on its way already."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        run_id = _patiently(lambda: _running(client, order) or _start(order))
        state = _wait(client, run_id, order)
    if state is None or state.is_completed():
        return
    if state.name in vars(errors) and issubclass(getattr(errors, state.name), NepentheError):
        raise getattr(errors, state.name)(state.message)
    raise ChildDied(f"the run {run_id} of {order.placement.deployment} ended as {state.name}: {state.message}")


def _tag(order: Order) -> str:
    where = hashlib.sha256(order.address.encode()).hexdigest()[:8]  # another workspace's run makes nothing in this one
    return f"{order.artifact.kind}-{order.artifact.fingerprint}-{order.part[0] + 1}of{order.part[1]}-{where}"


def _running(client: Any, order: Order) -> Any:
    """A run of the same order that an orchestrator before us started and that has not ended."""
    from prefect.client.schemas.filters import FlowRunFilter

    state = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
    asked = FlowRunFilter.model_validate({"tags": {"all_": [_tag(order)]}, "state": state})
    found = client.read_flow_runs(flow_run_filter=asked, limit=1)
    return found[0].id if found else None


def _start(order: Order) -> Any:
    from prefect.deployments import run_deployment

    there = order.placement.model_copy(update={"deployment": ""})
    started: Any = run_deployment(
        name=order.placement.deployment,
        parameters={"order": replace(order, placement=there).to_json()},
        flow_run_name=f"{order.artifact.folder.replace('/', ' ')}",
        tags=[order.artifact.kind, _tag(order)],
        timeout=0,
    )
    return started.id


def _wait(client: Any, run_id: Any, order: Order) -> Any:
    """The run's last state; None where the artifact is there first."""
    while True:
        state = _patiently(lambda: client.read_flow_run(run_id).state)
        if state is not None and state.is_final():
            return state
        if order.workspace.find(order.artifact.kind, order.artifact.fingerprint):
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
