"""A run: makes what is missing, each artifact as one Prefect task, and loads it into the tables.

`Cached` comes from our store alone: nothing of Prefect's own results can outlive the artifact that it points to.
"""

import contextvars
import json
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from storage.artifact import Artifact
from storage.errors import DamagedArtifact, WorkspaceBusy
from storage.shards import shards_of
from storage.tables import enter, forget, in_tables, load, refresh
from storage.workspace import Workspace
from tasks.journal import Event, Journal
from tasks.order import Order, artifacts_in
from tasks.places import carry_out
from tasks.prefect_task import as_task
from tasks.progress import Line, Progress
from tasks.ray_cluster import Ray
from tasks.signs import progress_of, waiting_of
from tasks.stage import Placement, Plan, Stage

LOOK_EVERY_SECONDS = 0.5
SHOW_EVERY_SECONDS = 20.0
Recipe = tuple[Stage, dict[str, Any]]


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
    made: list[tuple[Artifact, bool]] = field(default_factory=list)
    """Every artifact that the run touched, and whether it was cached."""

    def __post_init__(self) -> None:
        self._journal = Journal(self.workspace, self.run_id or self.name)
        self._slots = threading.Semaphore(self.placement.workers)
        self._tables = threading.Lock()  # stages that run together take turns at the tables
        self.recipes: dict[str, Recipe] = {}
        self._sound: set[str] = set()
        self._ray = Ray(self.placement)

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        artifact, inputs = self._named(stage, *args, **kwargs)
        made: Artifact = self._task(stage, artifact)(stage, artifact, inputs, return_state=True).result()
        return made

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """Artifacts of one stage that do not need each other; as many at a time as the placement has workers."""
        named = [self._named(stage, *args) for args in calls]
        futures = [self._task(stage, artifact).submit(stage, artifact, inputs) for artifact, inputs in named]
        return [future.result() for future in futures]

    def _named(self, stage: Stage, *args: Any, **kwargs: Any) -> tuple[Artifact, dict[str, Any]]:
        inputs = stage.inputs(*args, **kwargs)
        artifact = stage.artifact(self.name, inputs)
        self.recipes[artifact.fingerprint] = stage, inputs
        return artifact, inputs

    def _task(self, stage: Stage, artifact: Artifact) -> Any:
        return as_task(self.make, stage, self.placement, artifact.folder.replace("/", " "))

    def make(self, stage: Stage, artifact: Artifact, inputs: dict[str, Any]) -> Any:
        """The task: the artifact, as a `Cached` state where it is there already. Works outside Prefect, too."""
        found = self.workspace.find(artifact.kind, artifact.fingerprint)
        self.made.append((found or artifact, found is not None))
        if found:
            self.progress.cached(stage.title(inputs))
            self.note(found, "cached")
            return cached(found)
        for needed in artifacts_in(inputs, self.workspace):
            self._mend(needed)
        return self._fresh(Order(stage, artifact, inputs, self.workspace.address, self.placement, wait=self.wait))

    def _fresh(self, order: Order) -> Any:
        line = self.progress.start(order.stage.title(order.inputs))
        self.note(order.artifact, "started")
        try:
            with self._watched(order, line):
                if order.stage.divisible and order.stage.heavy and self.placement.workers > 1:
                    self._in_parts(order)
                    order = replace(order, placement=without_child(order.placement))
                self._carry_out(order)
        except Exception as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            line.say(f"failed: {said}", final=True)
            self.note(order.artifact, "failed", str(error))
            raise
        made = self.workspace.find(order.artifact.kind, order.artifact.fingerprint) or order.artifact
        record = self.workspace.record(made)
        ours = record["ordered"] == order.since  # else another run was faster, and this one waited
        self._enter(made, record["counts"] if ours else None)
        self.note(made, "made" if ours else "cached", json.dumps(record["counts"]))
        if not ours:
            line.say("cached", final=True)
            return cached(made)
        line.finish(record["seconds"], record["counts"])
        return made

    def _in_parts(self, order: Order) -> None:
        """All shards, spread over the workers; what is left to do afterwards is to count and commit."""
        parts = [replace(order, part=(number, self.placement.workers)) for number in range(self.placement.workers)]
        self._spread(order.stage, [(part,) for part in parts])

    def _spread(self, stage: Stage, calls: Sequence[tuple[Order]]) -> None:
        named = [(f"{order.artifact.folder.replace('/', ' ')} {order.part[0] + 1}", order) for (order,) in calls]
        futures = [as_task(self._carry_out, stage, self.placement, name).submit(order) for name, order in named]
        for future in futures:
            future.result()

    def _carry_out(self, order: Order) -> None:
        """Where the placement says; heavy orders take turns."""
        with ExitStack() as turn:
            if order.stage.heavy:
                turn.enter_context(self._slots)
            if order.stage.heavy and self.placement.ray:
                self._ray.carry_out(order)
            else:
                carry_out(order, self._smaller)

    def _smaller(self, order: Order) -> None:
        said = f"out of memory: goes on with {order.placement.micro_batch} blocks at a time"
        self.note(order.artifact, "smaller batch", said)

    def _mend(self, artifact: Artifact) -> None:
        """Look at an input's bytes once a run. A damaged one is made again, down to the shards that are sound."""
        if artifact.fingerprint in self._sound:
            return
        self._sound.add(artifact.fingerprint)
        damaged = self.workspace.damaged(artifact)
        if not damaged:
            return
        recipe = self.recipes.get(artifact.fingerprint)
        if recipe is None:
            raise DamagedArtifact(
                f"expected {artifact.folder} as its record describes it, found other bytes in {', '.join(damaged)}: "
                "run the job that made it again"
            )
        self.note(artifact, "damaged", ", ".join(damaged))
        self.workspace.reopen(artifact, damaged)
        with self._tables:  # damaged rows may be in there already
            in_tables(self.workspace, lambda tables: forget(tables, [artifact.fingerprint]), write=True)
        self.make(recipe[0], artifact, recipe[1])

    @contextmanager
    def _watched(self, order: Order, line: Line) -> Iterator["Watch"]:
        """While it is made: progress for people, and finished shards into the tables."""
        watch = Watch(self, order, line)
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(watch.look_again_and_again,), daemon=True
        )
        thread.start()
        try:
            yield watch
        finally:
            watch.over.set()
            thread.join()

    def note(self, artifact: Artifact, event: Event, message: str = "", shard: str | None = None) -> None:
        """What happened: in the workspace's journal, and in the run's log in Prefect."""
        self._journal.note(artifact, event, message, shard)
        run_log().info("%s: %s", event, " ".join(filter(None, (artifact.folder, shard, message))))

    def load(self, artifact: Artifact, shard: Path) -> None:
        """A finished shard of an artifact that is being made, into the tables. Raises WorkspaceBusy at once."""
        with self._tables:
            in_tables(self.workspace, lambda tables: load(tables, artifact, shard), write=True, patience=0.5)
        self.note(artifact, "shard", shard=shard.name)

    def close(self) -> None:
        """Let go of what the run held."""
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


def without_child(placement: Placement) -> Placement:
    """The same place without a process of its own, for what loads no model."""
    return placement.model_copy(update={"isolation": "inline"})


def cached(found: Artifact) -> Any:
    """The state of a task that found its artifact made."""
    from prefect.states import Completed

    return Completed(name="Cached", message=found.folder, data=found)


def run_log() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """The log of the task run around us, which the UI shows; outside Prefect an ordinary one."""
    from prefect.exceptions import MissingContextError
    from prefect.logging import get_run_logger

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("nepenthe")


class Watch:
    """Looks at an artifact that is being made, wherever that is."""

    def __init__(self, run: Run, order: Order, line: Line) -> None:
        self._run, self._order, self._line = run, order, line
        self._loaded: set[str] = set()
        self.over = threading.Event()
        self._waits = False
        self._bar: Any = None
        self._drawn = time.monotonic()

    def look_again_and_again(self) -> None:
        """Until it is over, and once more. Whatever goes wrong with looking does not end it, nor what is made."""
        over = False
        while not over:
            over = self.over.wait(LOOK_EVERY_SECONDS)
            try:
                self._look()
            except Exception as error:
                run_log().warning("not watched just now: %s: %s", type(error).__name__, error)

    def _look(self) -> None:
        workspace, artifact = self._run.workspace, self._order.artifact
        if found := progress_of(workspace, artifact):
            self._line.update(*found)
            self._show(*found)
        if not self._waits and (holder := waiting_of(workspace, artifact, self._order.since)):
            self._waits = True
            self._line.say(f"waits: {holder}")
            self._run.note(artifact, "waiting", holder)
        if not self._waits:
            self._load_finished()

    def _show(self, done: float, total: float) -> None:
        """A progress bar in the Prefect UI, for what takes its time."""
        now = time.monotonic()
        if total and now - self._drawn >= SHOW_EVERY_SECONDS:
            self._drawn = now
            self._bar = draw_bar(self._bar, self._order.artifact, 100 * done / total)

    def _load_finished(self) -> None:
        """Shards that are whole; if someone reads the tables just then, later."""
        for shard in shards_of(self._run.workspace.partial(self._order.artifact)):
            if shard.name in self._loaded:
                continue
            try:
                self._run.load(self._order.artifact, shard)
            except (WorkspaceBusy, FileNotFoundError):  # or it has just been finished and renamed
                return
            self._loaded.add(shard.name)


def draw_bar(bar: Any, artifact: Artifact, percent: float) -> Any:
    """Make or move a bar; its id. Where the server cannot be reached just now, or there is no run, nothing is drawn."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return None
    try:
        if bar is not None:
            return update_progress_artifact(bar, percent)
        return create_progress_artifact(percent, f"{artifact.kind}-{artifact.fingerprint}", artifact.folder)
    except Exception as error:  # a drawing must not end what it is drawn of
        run_log().warning("no progress bar: %s", error)
        return bar


class Direct(Run):
    """Makes artifacts in this process, one after the other, without a Prefect flow around them."""

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        artifact, inputs = self._named(stage, *args, **kwargs)
        made = self.make(stage, artifact, inputs)
        return made if isinstance(made, Artifact) else made.data

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """One after the other."""
        return [self(stage, *args) for args in calls]

    def _spread(self, stage: Stage, calls: Sequence[tuple[Order]]) -> None:
        for call in calls:
            self._carry_out(*call)


@contextmanager
def running(planned: Plan, placement: Placement, wait: float | None = None) -> Iterator[Run]:
    """A run of what was planned. Other runs may go on beside it; `gc` and `purge` wait for all of them."""
    from prefect.runtime import flow_run

    workspace = planned.workspace
    named = ".".join(filter(None, (planned.name, flow_run.flow_name)))
    with workspace.using(wait, named):
        refresh(workspace)
        run = Run(workspace, planned.name, placement, Progress(planned.calls), flow_run.name or "", wait)
        workspace.refer(named, needed_for(workspace, [(made, inputs) for _, made, inputs, _ in planned.steps]))
        try:
            yield run
            # A review or a stop rule may have changed the plan.
            made = [(one, run.recipes[one.fingerprint][1]) for one, _ in run.made]
            workspace.refer(named, needed_for(workspace, made))
        finally:
            run.close()


def needed_for(workspace: Workspace, making: Sequence[tuple[Artifact, dict[str, Any]]]) -> list[Artifact]:
    """Artifacts, and what they are made from, each once."""
    found = [one for made, inputs in making for one in (made, *artifacts_in(inputs, workspace))]
    return list(dict.fromkeys(found))
