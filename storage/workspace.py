"""The workspace: finished artifacts, partial ones to go on with, who is at work on them, and what runs refer to.

Its root is a folder, or the URL of an object store: then that is the truth, and `Workspace.root` a local folder with
copies of what was read, what is being made here, the tables and the locks. Below the root lie, and nobody else says so:

    {kind}/{name}-{fingerprint}/            a finished artifact, with record.json
    {kind}/{name}-{fingerprint}.partial/    what there is of an unfinished one
    runs/{job}.{flow}.json                  what the latest run of a job refers to
    reviews/{fingerprint}.json              what people decided about an artifact
    reviews/{fingerprint}.flow-run          the suspended flow run that waits for them
    removed/{kind}-{fingerprint}.json       records of what `purge` removed

and on each machine alone:

    making/{kind}-{fingerprint}/            signs of life of a making
    logs/runs.jsonl, logs/*.log             the journal; what child processes said
    locks/, writer.lock                     who is at work; those of other machines lie in the store's locks/
    fetching/                               copies that are not whole yet
    tables.duckdb, hashes.json              made again when they are lost
"""

import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.artifact import Artifact, as_json, as_object
from storage.errors import DamagedArtifact, MissingArtifact
from storage.files import Hashes, files_in, listed, sweep
from storage.local import LocalStore
from storage.locks import Holder, Waiting, held, holder_of, holders_in, shared, signed, silent, wait_until, who

if TYPE_CHECKING:
    from storage.remote.store import RemoteStore


REFERENCE = ("run", "at", "by", "host", "artifacts")


class Workspace:
    """All that one root holds. Cheap to make; creates nothing until something is written."""

    def __init__(self, root: Path | str) -> None:
        self.store = _opened(root)
        self.root = self.store.root
        """The local folder."""
        self.hashes = Hashes(self.root / "hashes.json")

    @property
    def address(self) -> str:
        """What makes this workspace again, on another machine too: its URL, or its folder."""
        return self.store.address

    @property
    def url(self) -> str:
        """The URL of a remote root, else empty."""
        return self.store.url

    @property
    def database(self) -> Path:
        """The DuckDB file."""
        return self.root / "tables.duckdb"

    @property
    def damaged_database(self) -> Path:
        """What it is called when it cannot be read."""
        return self.root / "tables.duckdb.damaged"

    @property
    def journal(self) -> Path:
        """The file with a line for everything that happened."""
        return self.root / "logs" / "runs.jsonl"

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
        """The small file (`store.read`) with what people decided about an artifact."""
        return f"reviews/{artifact.fingerprint}.json"

    def waiting_run(self, artifact: Artifact) -> str:
        """The small file with the id of the flow run that is suspended until they have decided."""
        return f"reviews/{artifact.fingerprint}.flow-run"

    def find(self, kind: str, fingerprint: str) -> Artifact | None:
        """The finished artifact of this fingerprint, under whatever name it was made."""
        return self.store.find(kind, fingerprint)

    def all(self) -> list[Artifact]:
        """Every finished artifact, oldest first."""
        return self.store.all()

    def path(self, artifact: Artifact, names: Iterable[str] | None = None) -> Path:
        """Where the finished artifact lies here; of a remote one these files, by default all, are fetched first.

        Raises MissingArtifact with the stage that makes it.
        """
        return self.store.path(artifact, names)

    def record(self, artifact: Artifact) -> dict[str, Any]:
        """What the artifact was made from, how, when, by whom; its counts and checksums."""
        return self.store.record(artifact)

    def partial(self, artifact: Artifact) -> Path:
        """The folder in which the artifact is being made."""
        return self.store.partial(artifact)

    def partials(self) -> list[Artifact]:
        """Every artifact of which something is made and not all."""
        return self.store.partials()

    def resume(self, artifact: Artifact) -> Path:
        """The partial folder, with whatever an earlier attempt has finished, on this machine or another."""
        return self.store.resume(artifact)

    def keep(self, artifact: Artifact, finished: Path) -> None:
        """A file or folder of the partial artifact is whole: from now on another machine can go on from it."""
        self.store.keep(artifact, finished)

    def commit(self, artifact: Artifact, description: dict[str, Any]) -> None:
        """Turn the partial folder into the finished artifact: checksums, and the record last."""
        sweep(self.partial(artifact))
        record = {
            "kind": artifact.kind,
            "name": artifact.name,
            "fingerprint": artifact.fingerprint,
            **description,
            "files": files_in(self.partial(artifact)),
            "made": {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": who(),
                "host": socket.gethostname(),
            },
        }
        self.store.commit(artifact, record)

    def damaged(self, artifact: Artifact, thorough: bool = False) -> list[str]:
        """The files of a finished artifact whose bytes are not the recorded ones, or that are gone.

        Reads every byte here; of a remote artifact that is whole here, the bytes in the store only if `thorough`.
        """
        return self.store.damaged(artifact, thorough)

    def lost(self, artifact: Artifact) -> list[str]:
        """The files that are gone or have another size: the damage that can be seen without reading."""
        return self.store.lost(artifact)

    def verify(self, artifact: Artifact) -> None:
        """Raise DamagedArtifact unless every byte is the one that the record describes."""
        damaged = self.damaged(artifact, thorough=True)
        if damaged:
            raise DamagedArtifact.of(artifact.folder, self.address, damaged)

    def reopen(self, artifact: Artifact, files: Collection[str]) -> None:
        """Turn a finished artifact back into a partial one without these files, so that a run makes only them again.

        What belongs to a file goes with it: the other shards of its part, and all models and checkpoints for one.
        """
        self.store.reopen(artifact, files)

    def remove(self, artifact: Artifact) -> None:
        """Remove a finished artifact. Raises MissingArtifact."""
        self.store.remove(artifact)

    def records(self) -> Iterator[tuple[Artifact, dict[str, Any]]]:
        """Every finished artifact with its record, oldest first; what has none that can be read is left out."""
        for artifact in self.all():
            try:
                record = self.record(artifact)
            except (DamagedArtifact, MissingArtifact):  # `verify` reports it; or it has just been removed
                continue
            yield artifact, record

    def protected(self) -> list[Artifact]:
        """The artifacts that hold the text to forget, or give it back; whatever has no record might."""
        harmless = {artifact for artifact, record in self.records() if not record["holds_protected_text"]}
        return [artifact for artifact in self.all() if artifact not in harmless]

    def purge(self) -> list[Artifact]:
        """Remove every artifact that holds the text to forget, or gives it back; their records move to removed/.

        What holds nothing of it stays, and so do records. Returns what was removed.
        """
        protected = self.protected()
        for artifact in protected:
            with suppress(DamagedArtifact):
                self.store.write(f"removed/{artifact.key}.json", as_json(self.record(artifact)))
            self.remove(artifact)
        for artifact in self.partials():
            self.store.discard(artifact)
        for name in self.store.litter():  # halves of uploads and removals, copies of what another machine removed
            self.store.erase(name)
        for tables in listed(self.root, f"{self.database.name}*"):
            tables.unlink()
        return protected

    def set_aside(self) -> list[Path]:
        """What is left of tables that could not be read."""
        return listed(self.root, f"{self.damaged_database.name}*")

    def refer(self, run: str, artifacts: Iterable[Artifact]) -> None:
        """Note what the latest run of a job needs: `nepenthe gc` keeps it, made already or not."""
        made_from = [[artifact.kind, artifact.name, artifact.fingerprint] for artifact in artifacts]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"run": run, "at": now, "by": who(), "host": socket.gethostname(), "artifacts": made_from}
        self.store.write(f"runs/{run}.json", as_json(note))

    def references(self) -> dict[str, dict[str, Any]]:
        """What `refer` has noted, by run: {"run", "at", "by", "host", "artifacts": [[kind, name, fingerprint]]}."""
        return {run: note for run, note in self._references() if note}

    def unreadable_references(self) -> list[str]:
        """The runs of which nobody knows what they need: their notes are damaged."""
        return [run for run, note in self._references() if note is None]

    def _references(self) -> Iterator[tuple[str, dict[str, Any] | None]]:
        for name in self.store.names("runs"):
            text = self.store.read(name)
            if text is not None:  # else it has just been forgotten
                yield name.removeprefix("runs/").removesuffix(".json"), _reference(text)

    def forget(self, run: str) -> None:
        """Take back what a run's job refers to."""
        self.store.erase(f"runs/{run}.json")

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
        with held(lock, wait, busy, waiting), self.store.leases.making(artifact.key, wait, busy, waiting):
            yield

    def maker(self, artifact: Artifact) -> Holder | None:
        """Who makes the artifact just now."""
        lock = self._locks / f"{artifact.key}.lock"
        return holder_of(lock) or self.store.leases.other(f"making/{artifact.key}")

    def makers(self) -> dict[str, Holder]:
        """Who makes what just now: {"KIND-0123456789abcdef": holder}."""
        here = {path.stem: holder_of(path) for path in listed(self._locks, "*.lock")}
        return self.store.leases.others("making") | {name: holder for name, holder in here.items() if holder}

    def users(self) -> list[Holder]:
        """The runs that go on just now."""
        return [*holders_in(listed(self._locks / "runs", "*.lock")), *self.store.leases.others("runs").values()]

    @contextmanager
    def using(self, wait: float | None = 0, run: str = "", waiting: Waiting = silent) -> Iterator[None]:
        """Take part in the workspace: many runs may, at once. Raises WorkspaceBusy while someone is `writing`."""
        with (
            shared(self._writer, wait, self._in_use, waiting),
            signed(self._locks / "runs", run),
            self.store.leases.using(run, wait, self._in_use, waiting),
        ):
            yield

    @contextmanager
    def writing(self, wait: float | None = 0, waiting: Waiting = silent) -> Iterator[None]:
        """Have the workspace alone: no run goes on and nothing is made. Raises WorkspaceBusy after waiting."""
        with (
            held(self._writer, wait, self._in_use, waiting),
            self.store.leases.writing(wait, self._in_use, waiting),
        ):
            wait_until(lambda: not self.makers(), wait, self._in_use, waiting)
            yield

    @property
    def _locks(self) -> Path:
        return self.root / "locks"

    @property
    def _writer(self) -> Path:
        return self.root / "writer.lock"

    def _in_use(self) -> str:
        writer = holder_of(self._writer) or self.store.leases.other("writer")
        holders = [writer, *self.users(), *self.makers().values()]
        users = "; ".join(dict.fromkeys(str(holder) for holder in holders if holder)) or "another process"
        return f"{self.address} is in use by {users}; wait for it (--wait SECONDS) or choose another --root"


def _reference(text: bytes) -> dict[str, Any] | None:
    """What a run's note says; None where it cannot be read, or names no artifacts."""
    note = as_object(text, *REFERENCE)
    artifacts = note["artifacts"] if note else None
    return note if isinstance(artifacts, list) and all(isinstance(a, list) and len(a) == 3 for a in artifacts) else None


def _opened(root: Path | str) -> "LocalStore | RemoteStore":
    if "://" in str(root):
        from storage.remote.store import RemoteStore  # fsspec is imported for a URL only

        return RemoteStore(str(root))
    return LocalStore(Path(root).absolute())
