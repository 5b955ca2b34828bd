"""A real HTTP server on loopback that answers as an OpenAI-compatible endpoint does, or misbehaves as told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class LanguageModel:
    """The server's script and its diary. `answer(passage, attempt)` gives what a handler of this class can send:

    a text (the answer), or a dict with any of status, headers, body, raw, message, finish, usage, sleep, drop.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Any] = lambda passage, attempt: '{"entries": []}'
        self.requests: list[dict[str, Any]] = []
        self.passages: list[str] = []
        self.keys: set[str] = set()
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self.url = ""

    def receive(self, headers: Any, body: bytes) -> Any:
        request = json.loads(body)
        user = request["messages"][-1]["content"]
        mark = next(line for line in user.split("\n") if line.startswith("PASSAGE "))
        passage = user.split(f"\n{mark}\n", 1)[1].rsplit(f"\n{mark}\n", 1)[0]
        with self._lock:
            attempt = self.passages.count(passage)
            self.requests.append(request)
            self.passages.append(passage)
            self.keys.add(headers["Authorization"])
            self.times.append(time.monotonic())
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return self.answer(passage, attempt)
        finally:
            with self._lock:
                self.under_way -= 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: LanguageModel

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = self.model.receive(self.headers, body)
        told = told if isinstance(told, dict) else {"text": told}
        time.sleep(told.get("sleep", 0))
        if told.get("drop"):
            self.close_connection = True
            self.connection.close()
            return
        status, sent = told.get("status", 200), told.get("raw", self.completion(told))
        self.send_response(status)
        for name, value in told.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(told.get("length", len(sent))))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = "length" in told

    def completion(self, told: dict[str, Any]) -> bytes:
        if told.get("status", 200) != 200:
            return json.dumps(told.get("body", {"error": {"message": "no"}})).encode()
        message = {"role": "assistant", "content": told.get("text", "")} | told.get("message", {})
        choice = {"index": 0, "message": message, "finish_reason": told.get("finish", "stop")}
        usage = told.get("usage", {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120})
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return json.dumps(whole | ({"usage": usage} if usage else {})).encode()

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client went away, as some tests make it


@pytest.fixture
def language_model() -> Iterator[LanguageModel]:
    model = LanguageModel()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Handler,), {"model": model}))
    server.daemon_threads = True
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield model
    server.shutdown()
    server.server_close()
    thread.join()
