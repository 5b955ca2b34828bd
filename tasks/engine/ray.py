"""Heavy orders on a Ray cluster, through Prefect's Ray task runner: each takes the GPUs that the placement says."""

import contextvars
import threading
from dataclasses import replace
from typing import Any

from storage.errors import BadInput
from tasks.engine.backends import execute
from tasks.engine.call import StageCall
from tasks.engine.prefect_task import as_task
from tasks.engine.stage import Placement


class Ray:
    """Heavy orders as tasks of Prefect's Ray task runner, started with the first of them."""

    def __init__(self, placement: Placement) -> None:
        self._placement, self._lock = placement, threading.Lock()
        # Workers get the context along. The flow's can be pickled; that of a running task holds all of its run.
        self._context = contextvars.copy_context()
        self._runner: Any = None

    def execute(self, call: StageCall) -> None:
        """Wait for a Ray worker to make it."""
        here = call.placement.model_copy(update={"ray": ""})
        written = replace(call, placement=here).to_json()
        task = as_task(on_worker, call.stage, self._placement, call.artifact.folder.replace("/", " "))
        with self._lock:
            future = self._context.run(self._submit, task, written)
        future.result()

    def _submit(self, task: Any, call: dict[str, Any]) -> Any:
        runner = self._started()
        from prefect_ray.context import remote_options

        with remote_options(num_gpus=self._placement.gpus):
            return runner.submit(task, parameters={"order": call})

    def _started(self) -> Any:
        if self._runner is None:
            try:
                from prefect_ray import RayTaskRunner
            except ImportError as error:
                raise BadInput(
                    "placement.ray: expected prefect-ray, found no such package: pip install 'nepenthe[ray]'"
                ) from error
            local = self._placement.ray == "local"
            quiet = {"log_to_driver": False}  # the run's own lines are not to be drawn over
            self._runner = RayTaskRunner(address=None if local else self._placement.ray, init_kwargs=quiet)
            self._runner.__enter__()
        return self._runner

    def close(self) -> None:
        """Let go of the cluster."""
        if self._runner is not None:
            self._runner.__exit__(None, None, None)
            self._runner = None


def on_worker(call: dict[str, Any]) -> None:
    """The Ray worker's side."""
    execute(StageCall.from_json(call))
