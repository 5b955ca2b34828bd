"""Our functions as Prefect tasks: no results of Prefect's own, retries for crashes alone."""

from collections.abc import Callable
from typing import Any

from storage.errors import NepentheError
from tasks.engine.stage import Placement, Stage


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
