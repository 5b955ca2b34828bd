"""The workspace: finished artifacts, partial ones to go on with, who is at work on them, and what runs refer to.

Its root is a folder, or the URL of an object store: then that is the truth, and `Workspace.root` a local folder with
copies of what was read, what is being made here, the tables and the locks. Below the root lie, and nobody else says so:

    {kind}/{name}-{fingerprint}/            a finished artifact, with record.json
    {kind}/{name}-{fingerprint}.partial/    what there is of an unfinished one
    runs/{job}.{flow}.json                  what the latest run of a job refers to
    reviews/{fingerprint}.json              what people decided about an artifact
    reviews/{fingerprint}.flow-run          the suspended flow run that waits for them
    removed/{kind}-{fingerprint}.json       records of what `purge` removed
    purges/{time}.json                      when, by whom, what, for which case it is held, and when it was released
    held/{case}/{kind}/{name}-{fingerprint}/    what a purge holds: read by no command, until it is released

and on each machine alone:

    making/{kind}-{fingerprint}/            signs of life of a making
    logs/runs.jsonl, logs/*.log             the journal; what child processes said
    locks/, writer.lock                     who is at work; those of other machines lie in the store's locks/
    fetching/                               copies that are not whole yet
    tables.duckdb, hashes.json              made again when they are lost
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.artifact import Artifact, as_json, as_object
from storage.errors import BadInput, DamagedArtifact, MissingArtifact
from storage.files import Hashes, files_in, listed, sweep
from storage.local import LocalStore, refuse_case
from storage.locks import Holder, Waiting, held, holder_of, holders_in, shared, signed, silent, wait_until, who

if TYPE_CHECKING:
    from storage.remote.leases import Leases

PURGE = ("at", "by", "case", "artifacts")
REFERENCE = ("run", "at", "by", "host", "artifacts")


class NoLeases:
    """Nobody else: a local folder, where the locks say it all. Stands in for storage.remote.leases.Leases."""

    def taken(self, *_: object) -> AbstractContextManager[None]:
        return nullcontext()

    using = writing = taken

    def other(self, _name: str) -> None:
        """Nobody."""

    def others(self, _folder: str) -> dict[str, Holder]:
        """Nobody."""
        return {}


class Workspace(LocalStore):
    """All that one root holds. Cheap to make; creates nothing until something is written."""

    leases: "NoLeases | Leases" = NoLeases()
    """Who is at work on other machines."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        self.hashes = Hashes(self.root / "hashes.json")
        self.database = self.root / "tables.duckdb"
        self.damaged_database = self.root / "tables.duckdb.damaged"
        """What it is called when it cannot be read."""
        self.journal = self.root / "logs" / "runs.jsonl"
        self._locks, self._writer = self.root / "locks", self.root / "writer.lock"

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.address,)  # opened anew in another process

    def child_log(self, artifact: Artifact) -> Path:
        """What the child processes said that made an artifact."""
        return self.root / "logs" / f"{artifact.name}-{artifact.fingerprint}-{artifact.kind}.log"

    def signs(self, artifact: Artifact) -> Path:
        """The folder in which the making of an artifact shows that it lives."""
        return self.root / "making" / artifact.key

    def model_path(self, artifact: Artifact, part: str) -> Path:
        """Where a model that is a part of an artifact will lie here, or lies already."""
        return self.root / artifact.folder / part

    def artifact_at(self, path: Path) -> Artifact | None:
        """The artifact that a path of this machine lies in, were it finished; None where it lies in none."""
        if not path.is_relative_to(self.root):
            return None
        kind, folder, *_ = (*path.relative_to(self.root).parts, "", "")
        return Artifact.at(kind, folder)

    def decisions(self, artifact: Artifact) -> str:
        """The small file (`read`) with what people decided about an artifact."""
        return f"reviews/{artifact.fingerprint}.json"

    def waiting_run(self, artifact: Artifact) -> str:
        """The small file with the id of the flow run that is suspended until they have decided."""
        return f"reviews/{artifact.fingerprint}.flow-run"

    def commit(self, artifact: Artifact, description: dict[str, Any]) -> None:
        """Turn the partial folder into the finished artifact: checksums, and the record last."""
        sweep(self.partial(artifact))
        record = {
            "kind": artifact.kind,
            "name": artifact.name,
            "fingerprint": artifact.fingerprint,
            **description,
            "files": files_in(self.partial(artifact)),
            "made": {"at": datetime.now(UTC).isoformat(timespec="seconds"), "by": who(), "host": socket.gethostname()},
        }
        self.publish(artifact, record)

    def verify(self, artifact: Artifact) -> None:
        """Raise DamagedArtifact unless every byte is the one that the record describes."""
        if damaged := self.damaged(artifact, thorough=True):
            raise DamagedArtifact.of(artifact.folder, self.address, damaged)

    def records(self) -> Iterator[tuple[Artifact, dict[str, Any]]]:
        """Every finished artifact with its record, oldest first; what has none that can be read is left out."""
        for artifact in self.all():
            with suppress(DamagedArtifact, MissingArtifact):  # `verify` reports it; or it has just been removed
                yield artifact, self.record(artifact)

    def protected(self) -> list[Artifact]:
        """The artifacts that hold the text to forget, or give it back; whatever has no record might."""
        harmless = {artifact for artifact, record in self.records() if not record["holds_protected_text"]}
        return [artifact for artifact in self.all() if artifact not in harmless]

    def purge(self, case: str = "") -> list[Artifact]:
        """Remove every artifact that holds the text to forget, or gives it back; their records move to removed/.

        With a case they are held for it instead. What holds nothing of the text stays, and so do records. Returns what
        was removed or held. BadInput for a case whose name cannot be a folder's.
        """
        if case:
            refuse_case(case)
        protected, now = self.protected(), datetime.now(UTC).isoformat(timespec="milliseconds")
        purged = {"at": now, "by": who(), "case": case, "artifacts": [artifact.key for artifact in protected]}
        self.write(f"purges/{now}.json", as_json(purged))  # first: a killed purge is known of, too
        for artifact in protected:
            with suppress(DamagedArtifact):
                self.write(f"removed/{artifact.key}.json", as_json(self.record(artifact)))
            if case:
                self.seal(artifact, case)
            else:
                self.remove(artifact)
        for artifact in self.partials():
            self.discard(artifact)
        for name in self.litter():  # halves of uploads and removals, copies of what another machine removed
            self.erase(name)
        for tables in listed(self.root, f"{self.database.name}*"):
            tables.unlink()
        return protected

    def release(self, case: str) -> None:
        """Remove what is held for a case; the note of each purge that held it says when, and who did.

        BadInput for a case that holds nothing.
        """
        holds, now = self.holds(), datetime.now(UTC).isoformat(timespec="milliseconds")
        if case not in holds:
            raise BadInput(f"expected a case that is held ({', '.join(holds) or 'none is'}), found {case!r}")
        for name, purge in self._purges().items():  # first, as in a purge
            if purge["case"] == case and "released" not in purge:
                self.write(name, as_json(purge | {"released": {"at": now, "by": who()}}))
        self.erase(f"held/{case}")

    def purges(self) -> list[dict[str, Any]]:
        """What was purged so far, oldest first: at, by, case, artifacts (kind-fingerprint); released (at, by), where
        what was held for the case has been removed since."""
        return list(self._purges().values())

    def _purges(self) -> dict[str, dict[str, Any]]:
        notes = {name: as_object(self.read(name) or b"", *PURGE) for name in self.names("purges")}
        return {name: note for name, note in notes.items() if note}

    def set_aside(self) -> list[Path]:
        """What is left of tables that could not be read."""
        return listed(self.root, f"{self.damaged_database.name}*")

    def refer(self, run: str, artifacts: Iterable[Artifact], ended: bool = True) -> None:
        """Note what the latest run of a job needs: `nepenthe gc` keeps it, made already or not. What the last one that
        ended needed is kept until this one has."""
        made_from = [[artifact.kind, artifact.name, artifact.fingerprint] for artifact in artifacts]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"run": run, "at": now, "by": who(), "host": socket.gethostname(), "artifacts": made_from}
        name = f"runs/{run}.json"
        if not ended and (known := self.read(name)) and (last := _reference(known)):
            note["last"] = last.get("last", last["artifacts"])
        self.write(name, as_json(note))

    def references(self) -> dict[str, dict[str, Any] | None]:
        """What `refer` has noted, by run: {"run", "at", "by", "host", "artifacts": [[kind, name, fingerprint]]}, and
        "last", the same of the last run that ended, where this one has not.

        None for a note that is damaged: nobody knows what that run needs.
        """
        texts = {name: self.read(name) for name in self.names("runs")}
        return {
            name.removeprefix("runs/").removesuffix(".json"): _reference(text)
            for name, text in texts.items()
            if text is not None  # else it has just been forgotten
        }

    def forget(self, run: str) -> None:
        self.erase(f"runs/{run}.json")

    @contextmanager
    def making(self, artifact: Artifact, wait: float | None = None, waiting: Waiting = silent) -> Iterator[None]:
        """Be the only one who makes this artifact. Whoever comes second waits, and then finds it made.

        `wait`: seconds, None for as long as it takes; `waiting` is told once who makes it. Raises WorkspaceBusy after
        waiting.
        """

        def busy() -> str:
            maker = self.maker(artifact) or "another process"
            return f"{artifact.folder} is being made by {maker}; wait for it or end it there"

        lock = self._locks / f"{artifact.key}.lock"
        with held(lock, wait, busy, waiting), self.leases.taken(f"making/{artifact.key}", wait, busy, waiting):
            yield

    def maker(self, artifact: Artifact) -> Holder | None:
        """Who makes the artifact just now."""
        lock = self._locks / f"{artifact.key}.lock"
        return holder_of(lock) or self.leases.other(f"making/{artifact.key}")

    def makers(self) -> dict[str, Holder]:
        """Who makes what just now: {"KIND-0123456789abcdef": holder}."""
        here = {path.stem: holder_of(path) for path in listed(self._locks, "*.lock")}
        return self.leases.others("making") | {name: holder for name, holder in here.items() if holder}

    def users(self) -> list[Holder]:
        return [*holders_in(listed(self._locks / "runs", "*.lock")), *self.leases.others("runs").values()]

    @contextmanager
    def using(self, wait: float | None = 0, run: str = "", waiting: Waiting = silent) -> Iterator[None]:
        """Take part in the workspace: many runs may, at once. Raises WorkspaceBusy while someone is `writing`."""
        with (
            shared(self._writer, wait, self._in_use, waiting),
            signed(self._locks / "runs", run),
            self.leases.using(run, wait, self._in_use, waiting),
        ):
            yield

    @contextmanager
    def writing(self, wait: float | None = 0, waiting: Waiting = silent) -> Iterator[None]:
        """Have the workspace alone: no run goes on and nothing is made. Raises WorkspaceBusy after waiting."""
        with held(self._writer, wait, self._in_use, waiting), self.leases.writing(wait, self._in_use, waiting):
            wait_until(lambda: not self.makers(), wait, self._in_use, waiting)
            yield

    def _in_use(self) -> str:
        writer = holder_of(self._writer) or self.leases.other("writer")
        holders = [writer, *self.users(), *self.makers().values()]
        users = "; ".join(dict.fromkeys(str(holder) for holder in holders if holder)) or "another process"
        return f"{self.address} is in use by {users}; wait for it or choose another --root"


def _reference(text: bytes) -> dict[str, Any] | None:
    """What a run's note says; None where it cannot be read, or names no artifacts."""
    note = as_object(text, *REFERENCE)
    artifacts = note["artifacts"] if note else None
    return note if isinstance(artifacts, list) and all(isinstance(a, list) and len(a) == 3 for a in artifacts) else None
