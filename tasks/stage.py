"""A stage: a function from artifacts to an artifact, and how a run makes it exactly once.

The body's arguments are its identity: artifacts, models and files count by fingerprint, settings by value. What only
says where and how fast the work is done (`Placement`) reaches the body through `Work` and never the fingerprint.
"""

import errno
import inspect
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from storage.artifact import Artifact, Json, canonical, fingerprint
from storage.errors import BadInput, DiskFull, NepentheError, WorkspaceBusy
from storage.machine import hardware, software
from storage.settings import Settings
from storage.tables import enter, load, open_tables
from storage.workspace import Workspace
from tasks.progress import Line, Progress

Counts = dict[str, Json]
Report = Callable[[dict[str, Any]], None]


class Placement(Settings):
    """Where and how the work is done. Never part of a fingerprint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for the models; auto takes a GPU where there is one."""
    isolation: Literal["process", "inline"] = "process"
    """process: heavy stages run in a child, so that a crash or an out-of-memory takes down one shard, not the flow."""
    workers: int = Field(default=1, ge=1)
    """Heavy stages that do not need each other (evaluations) run this many at a time."""
    threads: int | None = None
    """CPU threads of each heavy process; by default what torch finds. Two processes with two threads each crawl on two
    cores."""
    micro_batch: int = Field(default=8, ge=1)
    """Blocks per forward pass and device; the effective batch of a training does not depend on it."""
    checkpoint_seconds: float = 600.0
    """Seconds of training between two checkpoints; a killed training loses at most these."""
    retries: int = 2
    """How often a heavy stage whose child died is started again; it goes on from its last shard or checkpoint."""


@dataclass
class Work:
    """What a body is given besides its inputs."""

    folder: Path
    """Where to write. Finished parts of an earlier, interrupted attempt are still there."""
    workspace: Workspace
    placement: Placement
    report: Report

    def path(self, artifact: Artifact) -> Path:
        """The folder of an input."""
        return self.workspace.path(artifact)

    def progress(self, done: float, total: float) -> None:
        """Say how far the stage is, in any unit."""
        self.report({"done": done, "total": total})

    def wrote(self, shard: Path) -> None:
        """Say that a shard is whole, so that it is loaded while the stage goes on."""
        self.report({"shard": shard.name})


@dataclass(frozen=True)
class Stage:
    """A kind of artifact and the function that makes it. Raise `version` when the meaning of the output changes."""

    kind: str
    version: int
    body: Callable[..., Counts]
    heavy: bool = False
    """Loads a model: runs in a child where the placement says so."""
    protected: bool = False
    """What it makes holds the text to forget, or gives it back; `nepenthe purge` removes it."""

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.body)

    def inputs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The body's arguments by name, defaults included, without the leading `work`."""
        bound = self._signature.bind(None, *args, **kwargs)
        bound.apply_defaults()
        return dict(list(bound.arguments.items())[1:])

    def artifact(self, name: str, inputs: dict[str, Any]) -> Artifact:
        """The address of what the body makes from these inputs, made already or not."""
        return Artifact(self.kind, name, fingerprint(self.kind, self.version, inputs))


def stage(
    kind: str, *, version: int, heavy: bool = False, protected: bool = False
) -> Callable[[Callable[..., Counts]], Stage]:
    """Make a stage of a function `body(work, ...inputs) -> counts`."""
    return lambda body: Stage(kind, version, body, heavy, protected)


class Runner(Protocol):
    """Whatever takes a job along the path: `Run` makes artifacts, `Plan` only names them."""

    workspace: Workspace

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact: ...

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]: ...


@dataclass
class Plan:
    """Names every artifact of a job without making one."""

    workspace: Workspace
    name: str
    steps: list[tuple[Stage, Artifact, dict[str, Any], bool]] = field(default_factory=list)
    calls: int = 0
    """Stages that the run will pass through, those included that come to the same artifact again."""

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        self.calls += 1
        inputs = stage.inputs(*args, **kwargs)
        artifact = stage.artifact(self.name, inputs)
        found = self.workspace.find(artifact.kind, artifact.fingerprint)
        if all(known != artifact for _, known, _, _ in self.steps):
            self.steps.append((stage, found or artifact, inputs, found is not None))
        return found or artifact

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """The same as `Run.together`, by name only."""
        return [self(stage, *args) for args in calls]


@dataclass
class Run:
    """Makes what is missing, each artifact as one Prefect task, and loads it into the tables."""

    workspace: Workspace
    name: str
    placement: Placement
    progress: Progress
    run_id: str = ""
    made: list[tuple[Artifact, bool]] = field(default_factory=list)
    """Every artifact that the run touched, and whether it was cached."""

    def __post_init__(self) -> None:
        self._slots = threading.Semaphore(self.placement.workers)
        self._tables = threading.Lock()  # stages that run together take turns at the tables

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        inputs = stage.inputs(*args, **kwargs)
        artifact = stage.artifact(self.name, inputs)
        made: Artifact = self._task(stage, artifact)(stage, artifact, inputs, return_state=True).result()
        return made

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """Artifacts of one stage that do not need each other; as many at a time as the placement has workers."""
        all_inputs = [stage.inputs(*args) for args in calls]
        futures = []
        for inputs in all_inputs:
            artifact = stage.artifact(self.name, inputs)
            futures.append(self._task(stage, artifact).submit(stage, artifact, inputs))
        return [future.result() for future in futures]

    def _task(self, stage: Stage, artifact: Artifact) -> Any:
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        return task(
            name=stage.kind,
            task_run_name=artifact.folder.replace("/", " "),
            retries=self.placement.retries if stage.heavy else 0,
            retry_condition_fn=_can_pass,
            persist_result=False,
            cache_policy=NO_CACHE,
        )(self.make)

    def make(self, stage: Stage, artifact: Artifact, inputs: dict[str, Any]) -> Any:
        """The task: the artifact, as a `Cached` state where it is there already. Works outside Prefect, too."""
        from prefect.states import Completed

        found = self.workspace.find(artifact.kind, artifact.fingerprint)
        self.made.append((found or artifact, found is not None))
        if found:
            self.progress.cached(stage.kind)
            return Completed(name="Cached", message=found.folder, data=found)
        with self._slots:
            return self._fresh(stage, artifact, inputs)

    def _fresh(self, stage: Stage, artifact: Artifact, inputs: dict[str, Any]) -> Artifact:
        line = self.progress.start(stage.kind)
        partial = self.workspace.partial(artifact)
        started = time.monotonic()
        with disk_watched(self.workspace):
            partial.mkdir(parents=True, exist_ok=True)
            work = Work(partial, self.workspace, self.placement, lambda message: self._hear(artifact, line, message))
            try:
                counts = self._body(stage, work, inputs)
            except Exception as error:
                line.say(f"failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}", final=True)
                if isinstance(error, BadInput):
                    shutil.rmtree(partial)  # nothing half-written is left of what can never be finished
                raise
            seconds = round(time.monotonic() - started, 3)
            description = {
                "version": stage.version,
                "inputs": canonical(inputs),
                "counts": counts,
                "seconds": seconds,
                "holds_protected_text": stage.protected,
                "device": self._device() if stage.heavy else None,
                "hardware": hardware(),
                "software": software(),
            }
            self.workspace.commit(artifact, description)
            self._enter(artifact, counts)
        line.finish(seconds, counts)
        return artifact

    def _device(self) -> str:
        """Where a heavy stage runs, as far as it can be known without torch."""
        if self.placement.device == "auto":
            return "cuda" if hardware()["gpus"] else "cpu"
        return self.placement.device

    def _body(self, stage: Stage, work: Work, inputs: dict[str, Any]) -> Counts:
        if stage.heavy and self.placement.isolation == "process":
            from tasks.child import run_in_child

            return run_in_child(stage, work, inputs)
        return stage.body(work, **inputs)

    def _hear(self, artifact: Artifact, line: Line, message: dict[str, Any]) -> None:
        """A body's report: progress, or a shard that can be loaded now (if someone reads just then, later)."""
        if "shard" not in message:
            line.update(message["done"], message["total"])
            return
        try:
            with self._tables, open_tables(self.workspace, write=True, patience=0.5) as tables:
                load(tables, artifact, self.workspace.partial(artifact) / message["shard"])
        except WorkspaceBusy:
            return

    def _enter(self, artifact: Artifact, counts: Counts) -> None:
        """The finished artifact in the tables."""
        with self._tables, open_tables(self.workspace, write=True) as tables:
            enter(tables, self.workspace, artifact)
            tables.execute(
                "INSERT INTO events VALUES (now(), ?, ?, ?, 'made', ?)",
                [self.run_id, artifact.kind, artifact.fingerprint, json.dumps(counts)],
            )


@contextmanager
def disk_watched(workspace: Workspace) -> Iterator[None]:
    """Turn whatever a full disk looks like (each library has its own) into DiskFull."""
    try:
        yield
    except NepentheError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = shutil.disk_usage(workspace.root).free if workspace.root.exists() else 0
        if full or "No space left" in str(error) or free < 64 * 1024:
            raise DiskFull(
                f"the disk of {workspace.root} is full ({free // 1024} KiB free); what was finished is kept: "
                "make room and run the same job again"
            ) from error
        raise


def _can_pass(_task: object, _run: object, state: Any) -> bool:
    """Retry a crash, never a user's mistake."""
    return not isinstance(state.result(raise_on_failure=False), NepentheError)
