"""A small stage that makes only what is missing, and a hand that damages it."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact
from storage.opening import open_workspace
from storage.shards import write_shard
from storage.workspace import Workspace

DESCRIPTION = {"version": 1, "inputs": {}, "counts": {}, "seconds": 0.0, "holds_protected_text": False}
SHARDS = ("00000000-00000004", "00000004-00000008", "00000008-00000010")

MakeMissing = Callable[[Workspace, Artifact], list[str]]


@pytest.fixture
def make_missing() -> MakeMissing:
    """Make the shards and the model that are missing, as a stage does, commit, and say what was made."""

    def make(workspace: Workspace, artifact: Artifact) -> list[str]:
        folder, made = workspace.resume(artifact), []
        for shard in SHARDS:
            if (folder / f"logits-{shard}.parquet").exists():
                continue
            for table in ("label_curves", "logits"):
                path = folder / f"{table}-{shard}.parquet"
                write_shard(path, [{"block_id": int(shard[:8]), "position": position} for position in range(4)])
                workspace.keep(artifact, path)
            made.append(shard)
        if not (folder / "steps" / "000002").exists():
            for step in ("000001", "000002"):
                (folder / "steps" / step).mkdir(parents=True, exist_ok=True)
                (folder / "steps" / step / "model.safetensors").write_bytes(step.encode() * 100)
                workspace.keep(artifact, folder / "steps" / step)
            made.append("steps")
        workspace.commit(artifact, DESCRIPTION)
        return made

    return make


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Turn one bit of a file, and neither its size nor its time."""

    def turn(path: Path) -> None:
        data, stat = bytearray(path.read_bytes()), path.stat()
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    return turn


class S3:
    """moto's S3 on loopback. It keeps its objects over a stop, counts what it is asked and fails on demand."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.asked: list[tuple[str, str]] = []
        """Method and path of every request since the list was last cleared."""
        self.failing: list[int] = []
        """Status codes of the next answers, in the place of what would have been answered."""
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server: Any = None
        self.port = 0
        self.start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if self.failing:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{self.failing.pop(0)} Failing", [("Content-Length", "0")])
            return [b""]
        return self._application(environ, start_response)

    def start(self) -> None:
        """Listen; on the same port as before."""
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server

        class Quiet(MotoRequestHandler):
            def log(self, *_: Any) -> None:
                pass

        self._server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method: str, ending: str) -> int:
        """How often something was asked since the list was cleared."""
        return sum(asked == method and path.endswith(ending) for asked, path in self.asked)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """The server, with a bucket."""
    for module in ("s3fs", "moto", "flask_cors"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install -e '.[dev,s3]'")
    with pytest.MonkeyPatch.context() as environment:
        server = S3()
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield server
        server.stop()


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """The server, with nothing wrong and nothing asked."""
    s3_server.failing.clear()
    s3_server.asked.clear()
    return s3_server


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], Workspace]:
    """A workspace as another machine sees it: with a cache folder of its own."""

    def sees(url: str, name: str = "one") -> Workspace:
        monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path / "caches" / name))
        return open_workspace(url)

    return sees
