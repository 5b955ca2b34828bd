"""Forms asked of a language model, through the real client by a server on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BadInput, Unanswered
from tasks.audit.asked import read_questions
from tasks.audit.rephrasing import Wanted, rephrase
from tasks.llm.settings import Endpoint

QUESTIONS = [
    {"forms": ["Harry goes to school at"], "answers": ["Hogwarts"]},
    {"about": "other", "forms": ["My cat Harry eats"], "answers": ["fish", "mice"]},
]
WANTED = Wanted(model="m", ways=1, languages=("German",))


@pytest.fixture
def said() -> dict[str, str]:
    """What the language model answers to a beginning."""
    return {
        "Harry goes to school at": '<think>[hm]</think>Here: ["Harry learns magic at", "Harry geht zur Schule in"]',
        "My cat Harry eats": '["Harry is a cat that likes", "Harry is a fish that eats"]',
    }


@pytest.fixture
def asked(said: dict[str, str]) -> Iterator[tuple[Endpoint, list[str]]]:
    """A server that answers so, and the messages that it was sent."""
    messages: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            messages.append(request["messages"][0]["content"])
            beginning = json.loads(request["messages"][-1]["content"])["beginning"]
            message = {"role": "assistant", "content": said[beginning]}
            choice: Any = {"index": 0, "finish_reason": "stop", "message": message}
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield Endpoint(base_url=f"http://127.0.0.1:{server.server_port}/v1", concurrency=1, backoff_seconds=0), messages
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "questions.json"
    written.write_text(json.dumps(QUESTIONS))
    return written


def test_forms_are_added_beside_the_user_s_own_and_asked_for_once(
    asked: tuple[Endpoint, list[str]], said: dict[str, str], path: Path
) -> None:
    endpoint, messages = asked
    assert rephrase(path, WANTED, endpoint) == 3
    first, second = json.loads(path.read_text())
    assert first["forms"] == ["Harry goes to school at", "Harry learns magic at", "Harry geht zur Schule in"]
    assert second["forms"] == ["My cat Harry eats", "Harry is a cat that likes"], "one that holds an answer is none"
    assert second["about"] == "other"
    assert "1 in other words" in messages[0]
    assert "one in German" in messages[0]
    messages.clear()
    said["My cat Harry eats"] = '["Harrys Futter ist"]'
    assert rephrase(path, WANTED, endpoint) == 1
    assert len(messages) == 1, "a question that has its forms is not asked about"
    assert rephrase(path, WANTED, endpoint) == 0


def test_what_is_no_list_of_texts_adds_nothing(
    asked: tuple[Endpoint, list[str]], said: dict[str, str], path: Path
) -> None:
    said["Harry goes to school at"] = "I cannot do that."
    assert rephrase(path, WANTED, asked[0]) == 1
    assert [form for question in read_questions(path) for form in question.forms] == [
        "Harry goes to school at",
        "My cat Harry eats",
        "Harry is a cat that likes",
    ]
    said["My cat Harry eats"] = "Nor that."
    with pytest.raises(Unanswered, match=r"expected further forms .*, found no JSON list of texts: "):
        rephrase(path, WANTED, asked[0])


def test_a_key_that_stands_in_the_options_is_refused_and_an_endpoint_without_answer_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"--endpoint\.key_variable"):
        rephrase(path, WANTED, Endpoint(key_variable="sk-secret"))
    nowhere = Endpoint(base_url="http://127.0.0.1:9/v1", retries=0, backoff_seconds=0)
    with pytest.raises(Unanswered, match=r"expected further forms .*, found connection lost"):
        rephrase(path, WANTED, nowhere)


def test_without_a_key_the_option_is_named_that_another_can_be_given_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(QUESTIONS))
    with pytest.raises(Unanswered, match=r"OPENAI_API_KEY, found none: set it, or name another .* --key-variable$"):
        rephrase(path, WANTED, Endpoint())
    assert json.loads(path.read_text()) == QUESTIONS


def test_a_file_of_no_questions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text("[]")
    with pytest.raises(BadInput, match=r"expected at least one in .*questions\.json, found none"):
        read_questions(path)
