"""A run: makes what is missing, each artifact as one Prefect task, and loads it into the tables.

`Cached` comes from our store alone: nothing of Prefect's own results can outlive the artifact that it points to.
"""

import contextvars
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from storage.artifact import Artifact
from storage.errors import DamagedArtifact, Stopped
from storage.tables import enter, forget, in_tables, load, refresh
from storage.workspace import Workspace
from tasks.engine.backends import Ray, as_task, execute
from tasks.engine.call import StageCall, artifacts_in
from tasks.engine.console import Line, Progress
from tasks.engine.process import allow_children, stop_children
from tasks.engine.stage import Placement, Stage, pick_device
from tasks.engine.watch import Event, Watch, run_log, write_event

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """A stage that a job passes through, and whether what it makes is there."""

    stage: Stage
    artifact: Artifact
    inputs: dict[str, Any]
    cached: bool


@dataclass
class Plan:
    """Names every artifact of a job without making one."""

    workspace: Workspace
    name: str
    makes = False
    steps: list[Step] = field(default_factory=list)
    calls: int = 0
    """Stages that the run will pass through, those included that come to the same artifact again."""

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        self.calls += 1
        inputs = stage.inputs(*args, **kwargs)
        artifact = stage.artifact(self.name, inputs)
        finished = self.workspace.find(artifact.kind, artifact.fingerprint)
        if all(step.artifact != artifact for step in self.steps):
            self.steps.append(Step(stage, finished or artifact, inputs, finished is not None))
        return finished or artifact

    def map(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """The same as `Run.map`, by name only."""
        return [self(stage, *args) for args in calls]


@dataclass
class Run:
    """A run of one job in one workspace."""

    workspace: Workspace
    name: str
    placement: Placement
    progress: Progress
    run_id: str = ""
    wait: float | None = None
    """Seconds to wait for an artifact that another run is making; by default as long as it takes."""
    steps: list[Step] = field(default_factory=list)
    """Every artifact that the run touched."""

    makes = True

    def __post_init__(self) -> None:
        self._slots = threading.Semaphore(self.placement.workers)
        self._tables = threading.Lock()  # stages that run together take turns at the tables
        self._sound: set[str] = set()
        self._ray = Ray(self.placement)

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        artifact, inputs = self._named(stage, *args, **kwargs)
        finished: Artifact = self._task(stage, artifact)(stage, artifact, inputs, return_state=True).result()
        return finished

    def map(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """Artifacts of one stage that do not need each other; as many at a time as the placement has workers."""
        named = [self._named(stage, *args) for args in calls]
        futures = [self._task(stage, artifact).submit(stage, artifact, inputs) for artifact, inputs in named]
        return [_result(future) for future in futures]

    def _named(self, stage: Stage, *args: Any, **kwargs: Any) -> tuple[Artifact, dict[str, Any]]:
        inputs = stage.inputs(*args, **kwargs)
        artifact = stage.artifact(self.name, inputs)
        return artifact, inputs

    def _task(self, stage: Stage, artifact: Artifact) -> Any:
        return as_task(self.make, stage, self.placement, artifact.folder.replace("/", " "))

    def make(self, stage: Stage, artifact: Artifact, inputs: dict[str, Any]) -> Any:
        """The task: the artifact, as a `Cached` state where it is there already. Works outside Prefect, too."""
        finished = self.workspace.find(artifact.kind, artifact.fingerprint)
        self.steps.append(Step(stage, finished or artifact, inputs, finished is not None))
        if finished:
            self.progress.start(stage.title(inputs)).say("cached", final=True)
            self.note(finished, "cached")
            return cached(finished)
        for needed in artifacts_in(inputs):
            self._repair_input(needed)
        return self._fresh(StageCall(stage, artifact, inputs, self.workspace.address, self.placement, wait=self.wait))

    def _fresh(self, call: StageCall) -> Any:
        line = self.progress.start(call.stage.title(call.inputs))
        self.note(call.artifact, "started")
        try:
            with self._watched(call, line):
                if (parts := self._parts(call)) > 1:
                    self._spread([replace(call, part=(number, parts)) for number in range(parts)])
                    here = call.placement.model_copy(update={"isolation": "inline"})  # what is left loads no model
                    call = replace(call, placement=here)
                self._execute(call)
        except Exception as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            event: Event = "stopped" if isinstance(error, Stopped) else "failed"
            line.say(f"{event}: {said}", final=True)
            self.note(call.artifact, event, str(error))
            raise
        finished = self.workspace.find(call.artifact.kind, call.artifact.fingerprint) or call.artifact
        record = self.workspace.record(finished)
        ours = record["ordered"] == call.since  # else another run was faster, and this one waited
        self._enter(finished, record["counts"] if ours else None)
        self.note(finished, "made" if ours else "cached", json.dumps(record["counts"]))
        if not ours:
            line.say("cached", final=True)
            return cached(finished)
        line.finish(record["seconds"], record["counts"])
        return finished

    def _parts(self, call: StageCall) -> int:
        """How many workers have a shard to make."""
        if not call.stage.shards or self.placement.workers == 1:
            return 1
        return min(self.placement.workers, call.stage.shards(self.workspace, **call.inputs))

    def _spread(self, parts: Sequence[StageCall]) -> None:
        """All shards, by the workers; what is left to do afterwards is to count and commit."""
        futures = []
        for part in parts:
            name = f"{part.artifact.folder.replace('/', ' ')} {part.part[0] + 1}"
            futures.append(as_task(self._execute, part.stage, self.placement, name).submit(part))
        for future in futures:
            future.result()

    def _execute(self, call: StageCall) -> None:
        """Where the placement says; heavy calls take turns."""
        with ExitStack() as turn:
            if call.stage.heavy:
                turn.enter_context(self._slots)
            if call.stage.heavy and self.placement.ray:
                self._ray.execute(call)
            else:
                execute(call, self._smaller)

    def _smaller(self, call: StageCall) -> None:
        said = f"out of memory: goes on with {call.placement.micro_batch} blocks at a time"
        self.note(call.artifact, "smaller batch", said)

    def _repair_input(self, artifact: Artifact) -> None:
        """Look at an input's bytes once a run. A damaged one is made again, down to the shards that are sound."""
        if artifact.fingerprint in self._sound:
            return
        self._sound.add(artifact.fingerprint)
        damaged = self.workspace.damaged(artifact)
        if not damaged:
            return
        step = next((step for step in self.steps if step.artifact.fingerprint == artifact.fingerprint), None)
        if step is None:
            raise DamagedArtifact(
                f"expected {artifact.folder} as its record describes it, found other bytes in {', '.join(damaged)}: "
                "run the job that made it again"
            )
        self.note(artifact, "damaged", ", ".join(damaged))
        self.workspace.reopen(artifact, damaged)
        with self._tables:  # damaged rows may be in there already
            in_tables(self.workspace, lambda tables: forget(tables, [artifact.fingerprint]), write=True)
        self.make(step.stage, artifact, step.inputs)

    @contextmanager
    def _watched(self, call: StageCall, line: Line) -> Iterator[None]:
        """While it is made: progress for people, and finished shards into the tables."""
        waits = partial(self.note, call.artifact, "waiting")
        watch = Watch(self.workspace, call.artifact, call.since, line, self.load, waits)
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(watch.look_again_and_again,), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            watch.over.set()
            thread.join()

    def note(self, artifact: Artifact, event: Event, message: str = "", shard: str | None = None) -> None:
        """What happened: in the workspace's journal, and in the run's log in Prefect."""
        write_event(self.workspace, self.run_id or self.name, artifact, event, message, shard)
        run_log().info("%s: %s", event, " ".join(filter(None, (artifact.folder, shard, message))))

    def load(self, artifact: Artifact, shard: Path) -> None:
        """A finished shard of an artifact that is being made, into the tables. Raises WorkspaceBusy at once."""
        with self._tables:
            in_tables(self.workspace, lambda tables: load(tables, artifact, shard), write=True, patience=0.5)
        self.note(artifact, "shard", shard=shard.name)

    def close(self) -> None:
        self._ray.close()

    def _enter(self, artifact: Artifact, counts: dict[str, Any] | None) -> None:
        """The finished artifact in the tables; with its counts, that it was made by this run."""

        def act(tables: Any) -> None:
            enter(tables, self.workspace, artifact)
            if counts is not None:
                tables.execute(
                    "INSERT INTO events VALUES (now(), ?, ?, ?, 'made', ?)",
                    [self.run_id, artifact.kind, artifact.fingerprint, json.dumps(counts)],
                )

        with self._tables:
            in_tables(self.workspace, act, write=True)


def cached(artifact: Artifact) -> Any:
    """The state of a task whose artifact was made already."""
    from prefect.states import Completed

    return Completed(name="Cached", message=artifact.folder, data=artifact)


class Direct(Run):
    """Makes artifacts in this process, one after the other, without a Prefect flow around them."""

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        artifact, inputs = self._named(stage, *args, **kwargs)
        result = self.make(stage, artifact, inputs)
        return result if isinstance(result, Artifact) else result.data

    def map(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """One after the other."""
        return [self(stage, *args) for args in calls]

    def _spread(self, parts: Sequence[StageCall]) -> None:
        for part in parts:
            self._execute(part)


def _result(future: Any) -> Any:
    """Waits a second at a time: what a signal means is done between two waits, where another thread received it."""
    while not future.wrapped_future.done():
        future.wait(1.0)
    return future.result()


Runner = Plan | Run
"""Whatever takes a job along the path: a run makes artifacts, a plan only names them."""


@contextmanager
def running(planned: Plan, placement: Placement, wait: float | None = None) -> Iterator[Run]:
    """A run of what was planned. Other runs may go on beside it; `gc` and `purge` wait for all of them."""
    from prefect.runtime import flow_run

    heavy = any(step.stage.heavy and not step.cached for step in planned.steps)
    if heavy and placement.device == "cuda" and not (placement.deployment or placement.ray):
        pick_device("cuda")  # where there is none, that is said before anything runs
    allow_children()
    workspace = planned.workspace
    named = ".".join(filter(None, (planned.name, flow_run.flow_name)))
    with workspace.using(wait, named):
        refresh(workspace)
        run = Run(workspace, planned.name, placement, Progress(planned.calls), flow_run.name or "", wait)
        workspace.refer(named, _with_inputs(planned.steps), ended=False)
        try:
            yield run
            # A review or a stop rule may have changed the plan.
            workspace.refer(named, _with_inputs(run.steps))
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM, a cancellation
                stop_children()
            raise
        finally:
            run.close()


def planned_run(
    workspace: Workspace, name: str, placement: Placement, wait: float | None, pipeline: Callable[[Runner], T]
) -> T:
    """What a pipeline makes, once a plan of it has said what it will pass through."""
    planned = Plan(workspace, name)
    pipeline(planned)
    with running(planned, placement, wait) as run:
        return pipeline(run)


def _with_inputs(steps: Sequence[Step]) -> list[Artifact]:
    """Artifacts, and what they are made from, each once."""
    return list(dict.fromkeys(needed for step in steps for needed in (step.artifact, *artifacts_in(step.inputs))))
