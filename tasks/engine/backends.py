"""Where a call is carried out: in this process, in a child, on a Ray cluster, or by a work pool's workers.

Only the place differs: the artifact and its fingerprint are the same everywhere.
"""

import contextvars
import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from storage import errors
from storage.errors import BadInput, ChildDied, NepentheError, OutOfMemory
from tasks.engine.call import StageCall, make
from tasks.engine.process import carry_out, in_child
from tasks.engine.stage import Placement, Stage

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
    return partial(make, carry_out=carry_out) if call.placement.isolation == "inline" else in_child


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
    """A run of the same call that an orchestrator before us started and that has not ended."""
    from prefect.client.schemas.filters import FlowRunFilter

    state = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
    same = FlowRunFilter.model_validate({"tags": {"all_": [_tag(call)]}, "state": state})
    runs = client.read_flow_runs(flow_run_filter=same, limit=1)
    return runs[0].id if runs else None


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

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
            if refused or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


class Ray:
    """Heavy calls as tasks of Prefect's Ray task runner, started with the first of them."""

    def __init__(self, placement: Placement) -> None:
        self._placement, self._lock, self._started = placement, threading.Lock(), ExitStack()
        # Workers get the context along. The flow's can be pickled; that of a running task holds all of its run.
        self._context = contextvars.copy_context()
        self.close = self._started.close

    def execute(self, call: StageCall) -> None:
        """Wait for a Ray worker to make it."""
        here = call.placement.model_copy(update={"ray": ""})
        written = replace(call, placement=here).to_json()
        task = as_task(_on_worker, call.stage, self._placement, call.artifact.folder.replace("/", " "))
        with self._lock:
            future = self._context.run(self._submit, task, written)
        future.result()

    def _submit(self, task: Any, call: dict[str, Any]) -> Any:
        runner = self._runner
        from prefect_ray.context import remote_options

        with remote_options(num_gpus=self._placement.gpus):
            return runner.submit(task, parameters={"call": call})

    @cached_property
    def _runner(self) -> Any:
        try:
            from prefect_ray import RayTaskRunner
        except ImportError as error:
            raise BadInput(
                "placement.ray: expected prefect-ray, found no such package: pip install 'nepenthe[ray]'"
            ) from error
        address = None if self._placement.ray == "local" else self._placement.ray
        quiet = {"log_to_driver": False}  # the run's own lines are not to be drawn over
        return self._started.enter_context(RayTaskRunner(address=address, init_kwargs=quiet))


def _on_worker(call: dict[str, Any]) -> None:
    """The Ray worker's side."""
    execute(StageCall.from_json(call))


def as_task(function: Callable[..., Any], stage: Stage, placement: Placement, name: str) -> Any:
    """A Prefect task that keeps no results of its own and retries a crash, never a user's mistake."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    return task(
        name=stage.kind,
        task_run_name=name,
        retries=placement.retries if stage.heavy else 0,
        retry_condition_fn=_can_pass,
        persist_result=False,
        cache_policy=NO_CACHE,
    )(function)


def _can_pass(_task: object, _run: object, state: Any) -> bool:
    return not isinstance(state.result(raise_on_failure=False), NepentheError)
