"""A model named as on the hub: from a cache on the disk, and from a server on loopback that stands for the hub."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flows.inputs import resolve
from flows.job import job_of, read_job
from flows.unlearn import pipeline
from storage.errors import BadInput
from storage.files import Hashes
from tasks.engine.runner import Direct
from tasks.models import find_model
from tasks.report.card import Hub
from tasks.report.export import export
from tasks.report.record import FILE

COMMIT, OLDER = "1" * 40, "2" * 40
NAME = "somebody/tiny-model"
Find = Callable[[str], Any]


@pytest.fixture
def cache(in_hub_cache: Callable[[str], Path], tiny_model: Path) -> Path:
    """The hub's cache with one model at two commits, as the hub's own client lays it out: links to blobs."""
    folder = in_hub_cache("models--somebody--tiny-model")
    for commit in (COMMIT, OLDER):
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in tiny_model.iterdir():
            blob = folder / "blobs" / f"{commit[0]}-{file.name}".replace(".", "")
            blob.parent.mkdir(exist_ok=True)
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    config = json.loads((tiny_model / "config.json").read_text()) | {"note": "the older one"}
    (folder / "blobs" / "2-configjson").write_text(json.dumps(config))
    return folder


@pytest.fixture
def find(tmp_path: Path) -> Find:
    hashes = Hashes(tmp_path / "hashes.json")
    return lambda name: find_model(name, hashes)


def test_a_name_is_resolved_to_a_commit_and_known_by_its_bytes(cache: Path, find: Find, tiny_model: Path) -> None:
    found = find(NAME)
    assert found.source == f"{NAME}@{COMMIT}"
    assert Path(found.path) == cache / "snapshots" / COMMIT
    assert found.fingerprint == find(str(tiny_model)).fingerprint == find(f"{NAME}@{COMMIT}").fingerprint
    assert find(str(tiny_model)).source == ""


def test_a_revision_may_be_a_branch_a_tag_or_a_commit(cache: Path, find: Find) -> None:
    assert find(f"{NAME}@v1").source == find(f"{NAME}@{OLDER}").source == f"{NAME}@{OLDER}"
    assert find(f"{NAME}@v1").fingerprint != find(NAME).fingerprint


def test_what_is_not_in_the_cache_offline_is_looked_for_by_name_and_place(cache: Path, find: Find) -> None:
    for name in ("somebody/else", f"{NAME}@v2", f"{NAME}@{'3' * 40}"):
        with pytest.raises(BadInput) as refusal:
            find(name)
        said = str(refusal.value)
        assert f"model directory {name}," in said
        assert f"nothing whole in {cache.parent}" in said
        assert "HF_HUB_OFFLINE" in said


def test_a_snapshot_without_safetensors_says_how_to_convert(cache: Path, find: Find) -> None:
    (cache / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"safetensors .* found none: convert .*python -c"):
        find(NAME)


def test_a_shard_that_the_index_lists_and_nobody_downloaded_is_missed(cache: Path, find: Find) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (cache / "snapshots" / COMMIT / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"found no model-00002-of-00002\.safetensors"):
        find(NAME)


def test_a_jobs_folder_goes_before_the_hub(cache: Path, tmp_path: Path, make_job: Callable[..., Path]) -> None:
    job, folder = make_job(), tmp_path / "somebody" / "tiny-model"
    assert read_job(job, [f"model={NAME}", f"gold={NAME}@v1"]).gold == f"{NAME}@v1"
    assert read_job(job, ["model=../elsewhere"]).model == str(tmp_path / "../elsewhere")
    folder.mkdir(parents=True)
    assert read_job(job, [f"model={NAME}"]).model == str(folder)


@pytest.mark.slow
def test_the_whole_path_from_a_name_and_the_commit_in_every_record(
    cache: Path, make_job: Callable[..., Path], direct_run: Callable[..., Direct], tmp_path: Path, tiny_model: Path
) -> None:
    run, by_folder = direct_run(), direct_run(tmp_path / "other")
    job = read_job(make_job(), [f"model={NAME}"])
    outcome = pipeline(job, resolve(job, run.workspace.hashes), run)
    records = {step.artifact.kind: run.workspace.record(step.artifact) for step in run.steps}
    for kind in ("reinforce", "logits", "student", "evaluation"):
        assert list(records[kind]["sources"].values()) in ([f"{NAME}@{COMMIT}"], []), kind
    assert records["logits"]["sources"]
    export(run.workspace, outcome.report, tmp_path / "out", Hub())
    baseline = json.loads((tmp_path / "out" / FILE).read_text())["baseline"]
    assert baseline["source"] == f"{NAME}@{COMMIT}"
    assert "model.safetensors" in baseline["files"]
    assert f"base_model: {NAME}" in (tmp_path / "out" / "README.md").read_text()
    again = job_of(job.model_dump(exclude_unset=True) | {"model": str(tiny_model)})
    assert resolve(again, by_folder.workspace.hashes).baseline.fingerprint == baseline["fingerprint"]


class FakeHub:
    """What the hub's client asks for: a repository's commit, its files, and their bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refusal: tuple[str, int, str] | None = None
        """(part of the path, status, error code) of what is refused."""
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        if self.refusal and self.refusal[0] in path:
            _, status, code = self.refusal
            send(request, status, b"{}", {"X-Error-Code": code} if code else {})
        elif "/tree/" in path:
            files = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in self.files()]
            send(request, 200, json.dumps(files).encode(), {})
        elif "/resolve/" in path:
            name = path.rpartition("/")[2]
            send(request, 200, (self.folder / name).read_bytes(), {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            send(request, 200, json.dumps({"id": NAME, "sha": COMMIT, "siblings": []}).encode(), {})

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


@pytest.fixture
def hub(tmp_path: Path, tiny_model: Path) -> Iterator[FakeHub]:
    folder = tmp_path / "repository"
    shutil.copytree(tiny_model, folder)
    (folder / "consolidated.safetensors").write_bytes(b"the same weights again")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    started = FakeHub(folder)
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def planned(
    hub: FakeHub, tmp_path: Path, make_job: Callable[..., Path], command: Callable[..., Any]
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`nepenthe plan` of a job with a model of this name, asking the server for it."""

    def run(name: str, home: str = str(tmp_path / "hf")) -> "subprocess.CompletedProcess[str]":
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": home}
        arguments = ("plan", make_job(), "--root", tmp_path / "ws", "--set", f"model={name}", "--card", "h200")
        ended: subprocess.CompletedProcess[str] = command(*arguments, environment=environment)
        return ended

    return run


def test_a_model_is_downloaded_once_and_only_what_is_needed_of_it(
    hub: FakeHub, planned: Callable[..., Any], tmp_path: Path
) -> None:
    for name in (NAME, f"{NAME}@{COMMIT}"):
        ended = planned(name)
        assert ended.returncode == 0, ended.stderr
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched
    assert not fetched & {"consolidated.safetensors", "pytorch_model.bin"}
    snapshot = tmp_path / "hf" / "hub" / "models--somebody--tiny-model" / "snapshots" / COMMIT
    assert (snapshot / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (("/api/models", 401, "GatedRepo"), ["gated: accept its terms", "hf auth login", "HF_TOKEN"]),
        (("/resolve/", 403, "GatedRepo"), ["gated: accept its terms", "hf auth login"]),
        (("/api/models", 401, ""), ["does not show it to you", "hf auth login"]),
        (("/api/models", 404, ""), ["answers 404"]),
        (("/api/models", 404, "RepoNotFound"), ["found neither"]),
        (("/api/models", 404, "RevisionNotFound"), ["no such revision"]),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_sentence(
    hub: FakeHub, planned: Callable[..., Any], refusal: tuple[str, int, str], words: list[str]
) -> None:
    hub.refusal = refusal
    ended = planned(f"{NAME}@main")
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    for word in (*words, f"{NAME}@main", hub.url):
        assert word in ended.stderr


def test_a_hub_that_is_not_there_is_said_in_one_sentence(hub: FakeHub, planned: Callable[..., Any]) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    ended = planned(NAME)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"{hub.url} cannot be reached" in ended.stderr


def test_a_cache_that_cannot_be_written_is_said_in_one_sentence(planned: Callable[..., Any]) -> None:
    ended = planned(NAME, home="/proc/nowhere")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "let HF_HOME name a folder" in ended.stderr
