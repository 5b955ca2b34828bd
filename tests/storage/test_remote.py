"""A workspace in an object store behaves as one in a folder does, from several machines.

Every test runs on fsspec's memory; those on moto's S3 are marked `cluster`.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact, MissingArtifact, WorkspaceBusy
from storage.opening import open_workspace
from storage.tables import open_tables, sync
from storage.workspace import Workspace

Make = Callable[[Workspace, Artifact], list[str]]
Machine = Callable[..., Workspace]
DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
SHARDS = ("00000000-00000004", "00000004-00000008", "00000008-00000010")  # that `make_missing` makes
MADE = Artifact("logits", "x", "a" * 16)


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.cluster)])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://bucket/{uuid.uuid4().hex}"


def commit(workspace: Workspace, artifact: Artifact, text: str = "data", protected: bool = False) -> None:
    (workspace.resume(artifact) / "file.txt").write_text(text)
    workspace.commit(artifact, DESCRIPTION | {"holds_protected_text": protected})


def stored(url: str) -> dict[str, int]:
    from storage.remote.objects import Objects

    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    return Objects(f"{scheme}://{bucket}").sizes(prefix)


def spoil(url: str, name: str) -> None:
    """Flip a bit of an object in the store."""
    from storage.remote.objects import Objects

    objects = Objects(url)
    data = bytearray(objects.read(name) or b"")
    data[len(data) // 2] ^= 1
    objects.write(name, bytes(data))


def test_what_one_machine_makes_another_finds_and_reads(url: str, machine: Machine, make_missing: Make) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    assert one.root != two.root
    assert one.address == url
    make_missing(one, MADE)
    assert two.all() == [MADE]
    assert two.find("logits", MADE.fingerprint) == MADE
    assert two.find("logits", "b" * 16) is None
    assert two.record(MADE)["files"] == one.record(MADE)["files"]
    folder = two.path(MADE)
    assert two.root in folder.parents
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "record.json",
        *one.record(MADE)["files"],
    }
    two.verify(MADE)


def test_a_missing_artifact_names_the_stage_that_makes_it(url: str, machine: Machine) -> None:
    with pytest.raises(MissingArtifact, match=f"not in {url}; the labels stage makes it"):
        machine(url).path(Artifact("labels", "x", "0" * 16))


def test_an_upload_that_breaks_off_leaves_no_artifact_and_the_next_one_counts(
    url: str, machine: Machine, make_missing: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.remote.objects import Objects

    one, two = machine(url, "one"), machine(url, "two")
    create = Objects.create
    monkeypatch.setattr(Objects, "create", lambda self, name, data: broken() if "record" in name else None)

    def broken() -> Any:
        raise ConnectionError("cut off before the record")

    with pytest.raises(ConnectionError):
        make_missing(one, MADE)
    assert one.all() == two.all() == []
    assert two.find(MADE.kind, MADE.fingerprint) is None
    monkeypatch.setattr(Objects, "create", create)
    assert make_missing(two, MADE) == []  # all of it was kept, only the commit was missing
    assert one.all() == [MADE]
    one.verify(MADE)
    litter = one.litter()
    assert len(litter) == 1
    one.erase(litter[0])
    assert one.litter() == []
    two.verify(MADE)


def test_of_two_machines_that_commit_at_once_one_leaves_its_record_with_its_bytes(url: str, machine: Machine) -> None:
    machines = [machine(url, str(number)) for number in range(4)]
    together = threading.Barrier(4)

    def make(number: int) -> None:
        (machines[number].resume(MADE) / "file.txt").write_text(f"made by {number}")
        together.wait()
        machines[number].commit(MADE, DESCRIPTION)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = {(one.path(MADE) / "file.txt").read_text() for one in machines}
    assert len(texts) == 1
    for one in machines:
        one.verify(MADE)
        assert one.partials() == []
    assert machines[0].litter() == []


def test_another_machine_goes_on_from_what_was_kept(url: str, machine: Machine, make_missing: Make) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    folder = one.resume(MADE)
    for table in ("label_curves", "logits"):
        path = folder / f"{table}-{SHARDS[0]}.parquet"
        path.write_bytes(b"shard")
        one.keep(MADE, path)
    (folder / "steps" / "000002").mkdir(parents=True)
    (folder / "steps" / "000002" / "model.safetensors").write_bytes(b"model")
    one.keep(MADE, folder / "steps" / "000002")
    (folder / f"logits-{SHARDS[1]}.parquet").write_bytes(b"not said to be whole")
    assert two.partials() == [MADE]

    assert make_missing(two, MADE) == list(SHARDS[1:])
    made = two.path(MADE)
    assert (made / f"logits-{SHARDS[0]}.parquet").read_bytes() == b"shard"
    assert (made / "steps" / "000002" / "model.safetensors").read_bytes() == b"model"
    assert [name for name in stored(url) if ".partial" in name] == []
    one.path(MADE)
    one.verify(MADE)


def test_a_checkpoint_that_was_torn_on_its_way_is_no_checkpoint(
    url: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.remote.objects import Objects

    one, two = machine(url, "one"), machine(url, "two")
    for step in (1, 2):
        checkpoint = one.resume(MADE) / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        for name in ("model", "optimizer"):
            (checkpoint / name).write_bytes(b"x" * step)

    def half(self: Objects, pairs: Any) -> None:
        upload(self, list(pairs)[:1])
        raise ConnectionError("cut off")

    upload = Objects.upload
    one.keep(MADE, one.partial(MADE) / "checkpoints" / "checkpoint-1")
    monkeypatch.setattr(Objects, "upload", half)
    with pytest.raises(ConnectionError):
        one.keep(MADE, one.partial(MADE) / "checkpoints" / "checkpoint-2")
    found = two.resume(MADE)
    assert [path.name for path in (found / "checkpoints").iterdir()] == ["checkpoint-1"]


def test_a_checkpoint_that_is_gone_here_goes_there_when_the_next_is_kept(url: str, machine: Machine) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    checkpoints = one.resume(MADE) / "checkpoints"
    for step in (1, 2):
        (checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        (checkpoints / f"checkpoint-{step}" / "model").write_bytes(b"x" * step)
        if step == 2:
            (checkpoints / "checkpoint-1" / "model").unlink()
            (checkpoints / "checkpoint-1").rmdir()
        one.keep(MADE, checkpoints / f"checkpoint-{step}")
    assert [path.name for path in (two.resume(MADE) / "checkpoints").iterdir()] == ["checkpoint-2"]


def test_a_damaged_copy_is_fetched_again(url: str, machine: Machine, make_missing: Make) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    make_missing(one, MADE)
    shard = two.path(MADE) / f"logits-{SHARDS[0]}.parquet"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert (two.path(MADE) / shard.name).read_bytes() == good
    shard.unlink()
    assert (two.path(MADE) / shard.name).read_bytes() == good


def test_a_bit_that_rots_unseen_in_a_copy_is_healed_by_looking(
    url: str, machine: Machine, make_missing: Make, flip: Callable[[Path], None]
) -> None:
    one = machine(url, "one")
    make_missing(one, MADE)
    flip(one.path(MADE) / f"logits-{SHARDS[0]}.parquet")
    assert one.damaged(MADE) == []  # the store's bytes are whole, and now ours are again
    one.verify(MADE)


def test_damage_in_the_store_is_found_refused_and_made_again(url: str, machine: Machine, make_missing: Make) -> None:
    one, two, three = (machine(url, name) for name in ("one", "two", "three"))
    make_missing(one, MADE)
    bad = f"label_curves-{SHARDS[1]}.parquet"
    spoil(url, f"{MADE.folder}/{one.record(MADE)['attempt']}/{bad}")
    assert one.damaged(MADE) == []  # our own copy is whole
    assert one.damaged(MADE, thorough=True) == [bad]
    with pytest.raises(DamagedArtifact, match=bad):
        one.verify(MADE)
    with pytest.raises(DamagedArtifact, match=bad):
        two.path(MADE)
    assert two.damaged(MADE) == [bad]

    two.reopen(MADE, [bad])
    assert one.all() == []
    assert make_missing(three, MADE) == [SHARDS[1]]
    one.path(MADE)
    one.verify(MADE)


def test_an_artifact_removed_elsewhere_is_gone_here_and_its_copy_is_litter(url: str, machine: Machine) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    commit(one, MADE)
    copy = two.path(MADE)
    one.remove(MADE)
    assert two.find(MADE.kind, MADE.fingerprint) is None
    with pytest.raises(MissingArtifact):
        two.path(MADE)
    assert two.litter() == [MADE.folder]
    two.erase(MADE.folder)
    assert not copy.exists()


def test_what_was_made_again_replaces_old_copies(url: str, machine: Machine) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    commit(one, MADE, "old")
    (two.path(MADE) / "file.txt").read_text()
    one.remove(MADE)
    (one.resume(MADE) / "other.txt").write_text("new")
    one.commit(MADE, DESCRIPTION)
    assert sorted(path.name for path in two.path(MADE).iterdir()) == ["other.txt", "record.json"]


def test_purging_removes_the_protected_from_the_store_and_keeps_their_records(url: str, machine: Machine) -> None:
    one = machine(url, "one")
    text, model = Artifact("corpus", "x", "0" * 16), Artifact("student", "x", "1" * 16)
    commit(one, text, "secret text", protected=True)
    commit(one, model)
    folder = one.resume(MADE)
    (folder / "logits-0.parquet").write_text("secret ids")
    one.keep(MADE, folder / "logits-0.parquet")
    one.write(f"corpus/y-{'2' * 16}/0123456789ab/documents.arrow", b"secret half of an upload")
    one.database.write_text("tables")
    assert one.purge() == [text]
    assert one.all() == [model]
    kept = f"student/x-{model.fingerprint}"
    (noted,) = (name for name in stored(url) if name.startswith("purges/"))
    assert sorted(stored(url)) == sorted(
        [
            noted,
            f"removed/corpus-{text.fingerprint}.json",
            f"{kept}/record.json",
            f"{kept}/{one.record(model)['attempt']}/file.txt",
        ]
    )
    texts = [path.read_bytes() for path in one.root.rglob("*") if path.is_file()]
    assert not any(b"secret" in text for text in texts)
    assert not one.database.exists()


def test_tables_are_filled_from_shards_alone(url: str, machine: Machine, make_missing: Make) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    make_missing(one, MADE)
    with open_tables(two, write=True) as tables:
        sync(tables, two)
        assert tables.execute("SELECT count(*) FROM label_curves").fetchone() == (12,)
    assert (two.root / MADE.folder / f"logits-{SHARDS[0]}.parquet").exists()
    assert not (two.root / MADE.folder / "steps").exists()


def test_a_maker_on_another_machine_is_waited_for_and_a_run_there_keeps_cleaning_away(
    url: str, machine: Machine
) -> None:
    one, two = machine(url, "one"), machine(url, "two")
    with one.making(MADE):
        assert list(two.makers()) == [f"logits-{MADE.fingerprint}"]
        with pytest.raises(WorkspaceBusy, match=rf"being made by .* process {os.getpid()}"), two.making(MADE, 0):
            pass
        with pytest.raises(WorkspaceBusy, match="in use by"), two.writing():
            pass
    with two.making(MADE, 0):
        pass
    with one.using(run="nightly"):
        assert [user.doing for user in two.users()] == ["nightly"]
        with two.using(run="other"):
            pass
        with pytest.raises(WorkspaceBusy, match="for nightly"), two.writing():
            pass
    with two.writing(), pytest.raises(WorkspaceBusy, match="in use by"), one.using():
        pass
    assert [name for name in stored(url) if name.startswith("locks/")] == []


def test_a_lease_whose_holder_has_fallen_silent_is_taken(
    url: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from storage.remote import leases

    one, two = machine(url, "one"), machine(url, "two")
    with one.making(MADE):
        monkeypatch.setattr(leases, "DEAD_AFTER", timedelta(seconds=-60))
        assert two.maker(MADE) is None
        with two.making(MADE, 0):
            pass


@pytest.mark.slow
def test_a_lease_is_renewed_as_long_as_its_holder_lives_whatever_the_store_does(
    url: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from storage.remote import leases
    from storage.remote.objects import Objects

    one, two = machine(url, "one"), machine(url, "two")
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(leases, "DEAD_AFTER", timedelta(seconds=3))  # S3 counts in whole seconds
    write, faults = Objects.write, [ConnectionError("for a moment")]

    def fails_once(self: Objects, name: str, data: bytes) -> None:
        if faults:
            raise faults.pop()
        write(self, name, data)

    with one.making(MADE):
        monkeypatch.setattr(Objects, "write", fails_once)
        time.sleep(4)
        assert faults == []
        assert two.maker(MADE) is not None
    assert two.maker(MADE) is None


def test_references_are_seen_from_everywhere(url: str, machine: Machine) -> None:
    machine(url, "one").refer("nightly", [MADE])
    found = machine(url, "two").references()["nightly"]
    assert found["artifacts"] == [["logits", "x", MADE.fingerprint]]
    machine(url, "one").forget("nightly")
    assert machine(url, "two").references() == {}


def test_a_url_with_credentials_is_refused_without_repeating_them() -> None:
    with pytest.raises(BadInput, match="AWS_ACCESS_KEY_ID") as found:
        open_workspace("s3://AKIA:topsecret@bucket/prefix")
    assert "topsecret" not in str(found.value)


def test_an_unknown_kind_of_url_is_bad_input(machine: Machine) -> None:
    with pytest.raises(BadInput, match="fsspec can open"):
        machine("nosuch://bucket").all()


def test_a_local_workspace_imports_no_fsspec(tmp_path: Path) -> None:
    code = (
        "import sys; from storage.opening import open_workspace\n"
        f"open_workspace({str(tmp_path)!r}).all(); assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.cluster
def test_a_cached_artifact_is_read_without_a_download(s3: Any, machine: Machine, make_missing: Make) -> None:
    url = f"s3://bucket/{uuid.uuid4().hex}"
    one, two = machine(url, "one"), machine(url, "two")
    make_missing(one, MADE)
    s3.asked.clear()
    one.path(MADE)
    assert s3.count("GET", ".parquet") == 0  # what was made here is here
    two.path(MADE)
    assert s3.count("GET", ".parquet") == 2 * len(SHARDS)
    s3.asked.clear()
    two.path(MADE)
    assert {path.rpartition("/")[2] for _, path in s3.asked} == {"record.json"}


@pytest.mark.cluster
@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_fault_of_the_store_is_retried(s3: Any, machine: Machine, make_missing: Make, status: int) -> None:
    url = f"s3://bucket/{uuid.uuid4().hex}"
    s3.failing += [status] * 2
    make_missing(machine(url, "one"), MADE)
    s3.failing += [status] * 2
    machine(url, "two").verify(MADE)
    assert s3.failing == []


@pytest.mark.cluster
def test_a_store_that_refuses_connections_for_a_moment_is_waited_for(
    s3: Any, machine: Machine, make_missing: Make
) -> None:
    url = f"s3://bucket/{uuid.uuid4().hex}"
    one = machine(url, "one")
    one.all()
    s3.stop()
    back = threading.Timer(1.5, s3.start)
    back.start()
    started = time.monotonic()
    make_missing(one, MADE)
    back.join()
    assert time.monotonic() - started > 1
    machine(url, "two").verify(MADE)


@pytest.mark.cluster
def test_a_commit_that_is_killed_during_its_upload_leaves_no_artifact(
    s3: Any, machine: Machine, make_missing: Make
) -> None:
    url = f"s3://bucket/{uuid.uuid4().hex}"
    one = machine(url, "one")
    code = (
        "import os, signal; from storage.opening import open_workspace; from storage.artifact import Artifact\n"
        "from storage.remote.objects import Objects\n"
        f"workspace, made = open_workspace({url!r}), {MADE!r}\n"
        "for number in range(20):\n"
        "    (workspace.resume(made) / f'file-{number}.txt').write_text('data' * 1000)\n"
        "upload = Objects.upload\n"
        "def killed(self, pairs):\n"
        "    upload(self, list(pairs)[:10]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Objects.upload = killed\n"
        f"workspace.commit(made, {DESCRIPTION!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len([name for name in stored(url) if name.endswith(".txt")]) == 10
    assert one.all() == []
    make_missing(one, MADE)
    assert one.all() == [MADE]
    machine(url, "two").verify(MADE)
