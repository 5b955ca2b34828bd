"""Machines as they are: each hindrance is caused, and the command works, or says one sentence within seconds."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flows.environment import loopback_without_proxy, server_apart, writable_prefect_home

DEAD = "127.0.0.1:9"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
SAME = ("PREFECT_API_URL", "PREFECT_HOME", *PROXIES, *(name.lower() for name in PROXIES))
PATIENCE = 60  # seconds for what takes three on an idle machine, and took 130 before anybody looked
COMMAND = "import sys; from flows.cli import main; sys.argv[0] = 'nepenthe'; main()"
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
FULL = 'mount -t tmpfs -o size=4k full "$0" && head -c 4096 /dev/zero > "$0/full" && exec "$@"'

Nepenthe = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def nepenthe(tmp_path: Path) -> Nepenthe:
    """`nepenthe ...` in an environment of its own, behind `prefix`: a command that runs its arguments."""
    known = {name: value for name, value in os.environ.items() if name not in SAME}
    for folder in ("home", "tmp"):
        (tmp_path / folder).mkdir()
    own = known | {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str | Path, prefix: tuple[str, ...] = (), folder: str | None = None, **environment: str) -> Any:
        return subprocess.run(
            [*prefix, sys.executable, "-c", COMMAND, *map(str, arguments)],
            env=own | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    return run


def mounted(script: str, folder: Path | str) -> tuple[str, ...]:
    """A prefix that mounts over a folder for its command alone. Skips where a user may not do that."""
    prefix = ("unshare", "-rm", "sh", "-c", script, str(folder))
    try:
        tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare, to mount over a folder")
    if tried.returncode:
        pytest.skip(f"this user may not mount over a folder: {tried.stderr.decode().strip()}")
    return prefix


def works(ended: "subprocess.CompletedProcess[str]") -> None:
    assert ended.returncode == 0, ended.stderr
    assert "familiarity, probability" in ended.stdout


def refused(nepenthe: Nepenthe, *arguments: str | Path, **how: Any) -> str:
    """The one sentence with which the command ends."""
    started = time.monotonic()
    ended = nepenthe(*arguments, **how)
    assert time.monotonic() - started < PATIENCE
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.startswith("nepenthe: expected ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return str(ended.stderr)


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """A server on loopback that answers everything alike; its address."""
    servers = []

    def start(status: int, body: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://someone:secret@127.0.0.1:{servers[-1].server_port}/api"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


INLINE = ("--set", "placement.isolation=inline")  # what is tried here is no child's


@pytest.mark.slow
def test_a_proxy_is_never_asked_for_loopback_and_a_home_that_cannot_be_written_is_replaced(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job = make_job()
    machines: list[tuple[str, dict[str, Any]]] = [
        ("http", {"HOME": "/proc/nowhere"}),
        ("socks5", {"prefix": mounted(READ_ONLY, tmp_path / "home")}),
    ]
    for scheme, how in machines:  # the second finds all of it made
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"{scheme}://{DEAD}")
        works(nepenthe("unlearn", job, "--root", job.parent / "ws", *INLINE, **how, **proxies))
        (database,) = (tmp_path / "tmp").glob("nepenthe-prefect-*/prefect.db")
        database.unlink()


@pytest.mark.slow
def test_ranks_need_no_shared_memory(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tiny_model: Path, tmp_path: Path
) -> None:
    """Of the two trainings the student's."""
    job, prefix = make_job(extra=f'\nreinforced = "{tiny_model}"'), mounted(FULL, "/dev/shm")
    works(nepenthe("unlearn", job, "--root", tmp_path / "ws", "--set", "placement.ranks=2", *INLINE, prefix=prefix))


def test_a_current_folder_that_was_removed_is_refused(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job, gone = make_job(), tmp_path / "gone"
    gone.mkdir()
    prefix = ("sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh")
    said = refused(nepenthe, "unlearn", job, "--root", tmp_path / "ws", prefix=prefix, folder=str(gone))
    assert "found that it was removed" in said


def test_settings_that_prefect_does_not_take_are_refused(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job = make_job()
    for command in ("unlearn", "tune"):
        said = refused(nepenthe, command, job, "--root", tmp_path / "ws", PREFECT_SERVER_API_PORT="abc")
        assert said.startswith("nepenthe: expected Prefect's settings")
        assert "port: " in said
        assert "found 'abc'" in said


def test_a_gpu_that_is_not_there_is_refused(make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path) -> None:
    asked = ("plan", make_job(), "--root", tmp_path / "ws", "--set", "placement.device=cuda")
    said = refused(nepenthe, *asked, CUDA_VISIBLE_DEVICES="")
    assert "expected a GPU for placement.device" in said
    assert nepenthe(*asked, "--card", "h200").returncode == 0


def test_a_prefect_home_that_cannot_be_written_is_refused(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job = make_job()
    for home in ("/proc/nowhere", job):
        said = refused(nepenthe, "unlearn", job, "--root", tmp_path / "ws", PREFECT_HOME=str(home))
        assert f"at {home}: let PREFECT_HOME name another folder" in said


def test_a_prefect_home_on_a_read_only_disk_is_refused(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job, home = make_job(), tmp_path / "disk"
    home.mkdir()
    how: dict[str, Any] = {"prefix": mounted(READ_ONLY, home), "PREFECT_HOME": str(home)}
    assert "Read-only file system" in refused(nepenthe, "unlearn", job, "--root", tmp_path / "ws", **how)


def test_a_server_that_is_not_there_is_refused(make_job: Callable[..., Path], nepenthe: Nepenthe) -> None:
    job = make_job()
    said = refused(nepenthe, "unlearn", job, "--root", job.parent / "ws", PREFECT_API_URL=f"http://{DEAD}/api")
    assert f"http://{DEAD}/api" in said
    assert "Connection refused" in said


@pytest.mark.parametrize(("status", "body", "words"), [(401, "{}", "401"), (200, "<html>", "none of Prefect's")])
def test_a_server_of_somebody_else_is_refused_without_showing_a_password(
    make_job: Callable[..., Path],
    nepenthe: Nepenthe,
    answering: Callable[[int, str], str],
    status: int,
    body: str,
    words: str,
) -> None:
    job = make_job()
    said = refused(nepenthe, "unlearn", job, "--root", job.parent / "ws", PREFECT_API_URL=answering(status, body))
    assert words in said
    assert "secret" not in said


@pytest.mark.parametrize("root", ["/proc/nowhere/ws", "job.toml/ws", ""])
def test_a_workspace_that_cannot_be_written_is_refused(
    make_job: Callable[..., Path], nepenthe: Nepenthe, root: str
) -> None:
    """Without --root it lies in the current folder."""
    job = make_job()
    where = ("--root", job.parent / root) if root else ()
    for command in (("unlearn",), ("dictionary", "extract")):
        refused(nepenthe, *command, job, *where, folder=None if root else "/proc")


def test_a_workspace_on_a_read_only_disk_is_refused_for_runs_and_can_be_looked_at(
    make_job: Callable[..., Path], nepenthe: Nepenthe, tmp_path: Path
) -> None:
    job, disk = make_job(), tmp_path / "disk"
    disk.mkdir()
    prefix = mounted(READ_ONLY, disk)
    assert "let --root name" in refused(nepenthe, "unlearn", job, "--root", disk, prefix=prefix)
    ended = nepenthe("status", "--root", disk, prefix=prefix)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, None),
        ({"NO_PROXY": "intern"}, "intern"),
        ({"HTTP_PROXY": "http://p:1"}, "127.0.0.1,localhost,::1"),
        ({"all_proxy": "http://p:1", "NO_PROXY": "intern, localhost"}, "intern,localhost,127.0.0.1,::1"),
        ({"https_proxy": "http://p:1", "no_proxy": "low", "NO_PROXY": "high"}, "low,127.0.0.1,localhost,::1"),
        ({"https_proxy": "http://p:1", "no_proxy": "*"}, "*"),
    ],
)
def test_loopback_joins_what_goes_without_a_proxy(
    before: dict[str, str], after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SAME:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    loopback_without_proxy()
    assert os.environ.get("NO_PROXY") == after
    assert os.environ.get("no_proxy") == (after if len(before) != 1 or "NO_PROXY" not in before else None)


def test_a_home_that_can_be_written_is_left_to_prefect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    writable_prefect_home()
    assert "PREFECT_HOME" not in os.environ


def test_a_user_whom_the_system_does_not_know_gets_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without HOME and without an entry in passwd, as under any user id that a container was given."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PREFECT_HOME", "")
    writable_prefect_home()
    assert Path(os.environ["PREFECT_HOME"]).is_relative_to(tmp_path)


def test_a_folder_that_somebody_else_put_in_our_place_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"nepenthe-prefect-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.setenv("PREFECT_HOME", "")
    writable_prefect_home()
    assert Path(os.environ["PREFECT_HOME"]).parent == tmp_path
    assert not Path(os.environ["PREFECT_HOME"]).is_symlink()


def test_a_signal_to_a_run_s_group_does_not_reach_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.api import server

    monkeypatch.setattr(server, "subprocess", subprocess)  # what it was, afterwards
    server_apart()
    process = server.SubprocessASGIServer(port=9)._run_uvicorn_command()
    try:
        assert os.getpgid(process.pid) == process.pid
    finally:
        process.kill()
        process.wait()
