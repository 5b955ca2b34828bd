"""A call: one artifact to make, with all that another process or another machine must know; and the making itself.

Nothing of Prefect here: a child process, a Ray worker and a work pool's run all end in `make`.
"""

import errno
import importlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields, is_dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, TypeAdapter

from storage.artifact import Artifact, Fingerprinted, Json, canonical
from storage.errors import BadInput, DiskFull, NepentheError, OutOfMemory
from storage.files import Hashes
from storage.machine import hardware, software
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.engine.stage import WHOLE, Context, Counts, Placement, Stage
from tasks.engine.watch import say, say_progress

NO_MEMORY = "can't allocate memory"  # torch's words on a CPU
HERE = "{workspace}"  # stands for the workspace's local folder, which may lie elsewhere on another machine


@runtime_checkable
class Changeable(Protocol):
    """What a user keeps, and may write to while a run goes on: texts, a dictionary, a model."""

    def changed(self, hashes: Hashes) -> bool:
        """Whether it holds other bytes now than it is known by. Raises OSError where it is gone."""
        ...


@dataclass(frozen=True)
class StageCall:
    """One artifact, or a part of one, to make."""

    stage: Stage
    artifact: Artifact
    inputs: dict[str, Any]
    address: str
    """The workspace's root: a folder or a URL."""
    placement: Placement
    part: tuple[int, int] = WHOLE
    since: float = field(default_factory=time.time)
    """When it was given, in seconds since 1970."""
    wait: float | None = None
    """Seconds to wait while another run makes the same; by default as long as it takes."""

    @cached_property
    def workspace(self) -> Workspace:
        """The workspace that it is made in."""
        return open_workspace(self.address)

    def to_json(self) -> dict[str, Any]:
        """The call as plain values; `from_json` gives it back, in any process with the same nepenthe."""
        types = self.stage.types
        inputs = {name: TypeAdapter(types[name]).dump_python(value, mode="json") for name, value in self.inputs.items()}
        return {
            "stage": f"{self.stage.body.__module__}:{self.stage.body.__qualname__}",
            "artifact": list(astuple(self.artifact)),
            "inputs": _replaced(inputs, str(self.workspace.root), HERE),
            "address": self.address,
            "placement": self.placement.model_dump(mode="json"),
            "part": list(self.part),
            "since": self.since,
            "wait": self.wait,
        }

    @classmethod
    def from_json(cls, written: dict[str, Any]) -> "StageCall":
        """Raises BadInput where this machine's nepenthe would make another artifact of the same inputs."""
        module, _, name = written["stage"].partition(":")
        stage: Stage = getattr(importlib.import_module(module), name)
        types, here = stage.types, str(open_workspace(written["address"]).root)
        inputs = {
            name: TypeAdapter(types[name]).validate_python(_replaced(value, HERE, here))
            for name, value in written["inputs"].items()
        }
        artifact = Artifact(*written["artifact"])
        here_it_is = stage.artifact(artifact.name, inputs).fingerprint
        if here_it_is != artifact.fingerprint:
            raise BadInput(
                f"expected to make {artifact.folder}, found that it would be {here_it_is} here: "
                "install the same version of nepenthe on every machine of a run"
            )
        placement, part = Placement(**written["placement"]), (written["part"][0], written["part"][1])
        return cls(stage, artifact, inputs, written["address"], placement, part, written["since"], written["wait"])


def body(call: StageCall, context: Context) -> Counts:
    """The stage's body, in this process."""
    return call.stage.body(context, **call.inputs)


def make(call: StageCall, carry_out: Callable[[StageCall, Context], Counts] = body) -> Artifact:
    """Make the artifact, or the call's part of it; where it is there already, nothing is done.

    One maker at a time: who comes second waits and finds it done.
    """
    workspace, artifact = call.workspace, call.artifact
    tell = partial(say, workspace, artifact, f"waiting-{call.since}")
    with workspace.making(_key(call), call.wait, lambda holder: tell(holder=holder)):
        finished = workspace.find(artifact.kind, artifact.fingerprint)
        if finished:
            return finished
        with faults_named(workspace, call.placement):
            for needed in artifacts_in(call.inputs):
                workspace.path(needed)  # a remote one is fetched
            _refuse_changed(call, gone=True)  # what an earlier attempt has made stays
            report = partial(say_progress, workspace, artifact, call.part[0])
            context = Context(workspace.resume(artifact), workspace, artifact, call.placement, call.part, report)
            try:
                counts = carry_out(call, context)
                _refuse_changed(call)  # meanwhile: what was made of it would have a wrong address
            except BadInput:
                shutil.rmtree(context.folder)  # nothing half-written is left of what can never be finished
                raise
            if call.part == WHOLE:
                workspace.commit(artifact, _description(call, counts))
                shutil.rmtree(workspace.signs(artifact), ignore_errors=True)  # the making has ended well
    return artifact


def _key(call: StageCall) -> Artifact:
    """What only one may make at a time: the whole, or this part of it."""
    if call.part == WHOLE:
        return call.artifact
    number, parts = call.part
    return replace(call.artifact, fingerprint=f"{call.artifact.fingerprint}.{number + 1}of{parts}")


def _description(call: StageCall, counts: dict[str, Json]) -> dict[str, Any]:
    return {
        "version": call.stage.version,
        "inputs": canonical(call.inputs),
        "sources": _sources(call.inputs),
        "counts": counts,
        "ordered": call.since,
        "seconds": round(time.time() - call.since, 3),
        "holds_protected_text": call.stage.protected,
        "device": call.placement.known_device if call.stage.heavy else None,
        "hardware": hardware(),
        "software": software(),
    }


def _refuse_changed(call: StageCall, gone: bool = False) -> None:
    """Raise BadInput for files of the user's that are not the ones any more that the artifact is known by; with `gone`
    also for those that are not there."""
    for value in _values_in(call.inputs):
        if not isinstance(value, Changeable):
            continue
        try:
            found = "it changed: run it again" if value.changed(call.workspace.hashes) else ""
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            found = "nothing there: put it back and run it again" if gone else ""
        if found:
            named = getattr(value, "path", None) or ", ".join(getattr(value, "paths", ()))
            raise BadInput(f"expected {named} as it was when the run began, found {found}")


def artifacts_in(inputs: object) -> Iterator[Artifact]:
    """Every artifact among the inputs, those that stand behind a model included."""
    return (value for value in _values_in(inputs) if isinstance(value, Artifact))


def _sources(inputs: object) -> dict[str, str]:
    """Where on the hub the models came from that were named so, by their fingerprints."""
    known = (value for value in _values_in(inputs) if isinstance(value, Fingerprinted))
    return {value.fingerprint: source for value in known if (source := getattr(value, "source", ""))}


def _values_in(inputs: object) -> Iterator[object]:
    """The inputs, and whatever they hold."""
    yield inputs
    if isinstance(inputs, BaseModel):
        held: Iterable[object] = (getattr(inputs, name) for name in type(inputs).model_fields)
    elif is_dataclass(inputs):
        held = (getattr(inputs, field.name) for field in fields(inputs))
    elif isinstance(inputs, dict):
        held = inputs.values()
    else:
        held = inputs if isinstance(inputs, list | tuple) else ()
    for value in held:
        yield from _values_in(value)


def _replaced(value: Any, old: str, new: str) -> Any:
    """The same value, with paths below one folder below another."""
    if isinstance(value, str):
        return new + value.removeprefix(old) if value.startswith(f"{old}/") else value
    if isinstance(value, dict):
        return {key: _replaced(item, old, new) for key, item in value.items()}
    return [_replaced(item, old, new) for item in value] if isinstance(value, list) else value


@contextmanager
def faults_named(workspace: Workspace, placement: Placement) -> Iterator[None]:
    """Turn whatever a full disk or a full memory looks like (each library has its own) into our errors."""
    try:
        yield
    except NepentheError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or NO_MEMORY in str(error):
            raise OutOfMemory(
                f"expected memory for {placement.micro_batch} blocks at a time (placement.micro_batch): {error}"
            ) from error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        free = shutil.disk_usage(workspace.root).free if workspace.root.exists() else 0
        if full or "No space left" in str(error) or free < 64 * 1024:
            raise DiskFull(
                f"the disk of {workspace.root} is full ({free // 1024} KiB free); what was finished is kept: "
                "make room and run the same job again"
            ) from error
        raise
