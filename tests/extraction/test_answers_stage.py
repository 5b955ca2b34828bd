"""The answers stage against a server that misbehaves, with the real openai client."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact
from storage.errors import Unanswered
from storage.tables import open_tables
from tasks.answers import answers
from tasks.contents import answer_rows
from tasks.corpus import corpus
from tasks.engine.runner import Run
from tasks.llm.settings import Endpoint, LlmSettings
from tasks.llm.store import prompt_hash
from tasks.texts import CorpusFiles

NAMES = [f"Zorb{letter}" for letter in "abcdefghijklmnopqrstuvwx"]
Ask = Callable[..., tuple[Run, Artifact]]


def entries(*pairs: tuple[str, str]) -> str:
    return json.dumps({"entries": [{"anchor": a, "translation": t, "kind": "person"} for a, t in pairs]})


def about(passage: str) -> str:
    """A good answer: the one name of the passage."""
    name = next(name for name in NAMES if name in passage)
    return entries((name, f"Name{name[-1]}"))


@pytest.fixture
def ask(tmp_path: Path, direct_run: Callable[..., Run], language_model: Any, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Twelve documents, one passage each, are asked about; keywords change the settings or the endpoint."""
    monkeypatch.setenv("TEST_KEY", "sk-a-secret-key-0123456789")
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.txt").write_text(f"Once {name} went to the market and bought a fish.\n")

    def run(root: Path | None = None, documents: int = 12, **changes: Any) -> tuple[Run, Artifact]:
        place = {"base_url": language_model.url, "key_variable": "TEST_KEY", "backoff_seconds": 0.01}
        place |= {"requests_per_minute": 60_000, "concurrency": 4}
        place |= {name: changes.pop(name) for name in list(changes) if name in Endpoint.model_fields}
        making = direct_run(root)
        files = making.workspace.hashes.files(sorted(folder.iterdir())[:documents])
        texts = making(corpus, CorpusFiles.of(files), "text")
        settings = LlmSettings(model="m", **changes)
        return making, making(answers, texts, settings, prompt_hash(), Endpoint(**place))

    return run


def counts_of(run: Run, made: Artifact) -> dict[str, Any]:
    counts: dict[str, Any] = run.workspace.record(made)["counts"]
    return counts


def once(fault: Any, after: int = 1) -> Callable[[str, int], Any]:
    """The fault on the first `after` attempts at every passage, then a good answer."""
    return lambda passage, attempt: fault if attempt < after else about(passage)


PASSING = [
    {"status": 429},
    {"status": 429, "headers": {"Retry-After": "0.05"}},
    {"status": 429, "headers": {"Retry-After": "soon"}},
    {"status": 500},
    {"status": 503, "raw": b"<html>busy</html>"},
    {"drop": True},
    {"length": 100_000},
    {"raw": b"not json"},
    {"raw": b'{"choices": []}'},
    {"raw": b"[" * 100_000},
    {"sleep": 2.5},
    {"text": entries(("Zorba", "Name"))[:30]},
    {"text": entries(("Zorba", "Name")), "finish": "length"},
    {"text": "I am sorry, I cannot find a list."},
    {"text": "{'a': [}"},
    {"text": ""},
    {"text": entries(("Elsewhere", "Nowhere"))},
    {"text": "x" * 300_000},
]
LASTING = [
    ({"message": {"content": None, "refusal": "I will not."}}, "refused", 1),
    ({"text": "", "finish": "content_filter"}, "refused", 1),
    ({"status": 400}, "no reply", 1),
    ({"status": 500}, "no reply", 3),
    ({"status": 429, "headers": {"Retry-After": "86400"}}, "no reply", 1),
    ({"text": "nothing"}, "no dictionary in it", 2),
    ({"raw": b'{"choices": []}'}, "empty", 2),
    ({"status": 400, "body": {"error": {"message": "filtered", "code": "content_filter"}}}, "refused", 1),
    ({"text": "", "message": {"reasoning_content": entries(("Zorba", "Name"))}, "finish": "length"}, "truncated", 2),
    ({"text": entries(("Once", "Name"))[:-2]}, "partial", 2),
    ({"raw": b" " * 3_000_000}, "no reply", 1),
    ({"text": entries(("Elsewhere", "Nowhere"))}, "about another text", 2),
]


def place_of(passage: str) -> int:
    return next(place for place, name in enumerate(NAMES) if name in passage)


@pytest.mark.slow
def test_what_can_pass_is_asked_again(ask: Ask, language_model: Any) -> None:
    """Every passage meets a fault of its own, once."""

    def answer(passage: str, attempt: int) -> Any:
        faulty = attempt == 0 and place_of(passage) < len(PASSING)
        return PASSING[place_of(passage)] if faulty else about(passage)

    language_model.answer = answer
    run, made = ask(timeout_seconds=2, documents=len(PASSING))
    rows = {row["document_id"]: row for row in answer_rows(run.workspace.path(made))}
    for place, fault in enumerate(PASSING):
        assert (rows[place]["reason"], rows[place]["requests"]) == (None, 2), fault
    assert counts_of(run, made)["answered"] == len(PASSING)
    assert len(language_model.requests) == 2 * len(PASSING)


@pytest.mark.slow
def test_what_cannot_pass_is_counted_and_kept_with_its_reason(ask: Ask, language_model: Any) -> None:
    def answer(passage: str, attempt: int) -> Any:
        place = place_of(passage)
        return LASTING[place // 2][0] if place % 2 and place // 2 < len(LASTING) else about(passage)

    language_model.answer = answer
    run, made = ask(retries=2, share=0.5, documents=2 * len(LASTING), concurrency=1)
    rows = {row["document_id"]: row for row in answer_rows(run.workspace.path(made))}
    for number, (fault, reason, requests) in enumerate(LASTING):
        row = rows[2 * number + 1]
        assert (row["reason"], row["requests"]) == (reason, requests), fault
    missing = counts_of(run, made)["missing"]
    assert missing == {
        **{"refused": 3, "no reply": 4, "no dictionary in it": 1, "about another text": 1},
        **{"empty": 1, "truncated": 1, "partial": 1},
    }


def test_below_the_share_the_stage_fails_keeps_what_it_has_and_asks_only_the_rest(
    ask: Ask, language_model: Any
) -> None:
    language_model.answer = lambda passage, attempt: {"status": 500} if passage < "Once Zorbd" else about(passage)
    with pytest.raises(Unanswered, match=r"95% of 12 passages, got 9 \(3 no reply; HTTP 500: no, 2 times\)"):
        ask(retries=1)
    language_model.passages.clear()
    language_model.answer = once({"status": 500}, after=0)
    run, made = ask(retries=1)
    assert len(language_model.passages) == 3
    assert counts_of(run, made)["answered"] == 12


@pytest.mark.slow
def test_another_artifact_with_the_same_question_asks_nothing(ask: Ask, language_model: Any) -> None:
    language_model.answer = once(None, after=0)
    ask(passages=5)
    assert len(language_model.requests) == 5
    run, made = ask()
    assert len(language_model.requests) == 12
    counts = counts_of(run, made)
    assert (counts["answered"], counts["requests"]) == (12, 7)
    ask(temperature=0.5)
    assert len(language_model.requests) == 24


def test_where_and_how_fast_is_no_part_of_the_address(ask: Ask, language_model: Any) -> None:
    language_model.answer = once(None, after=0)
    _, first = ask()
    _, second = ask(base_url="http://elsewhere.invalid", concurrency=1, requests_per_minute=1, key_variable="OTHER")
    assert first == second
    assert len(language_model.requests) == 12


def test_concurrency_and_rate_are_kept(ask: Ask, language_model: Any) -> None:
    language_model.answer = lambda passage, attempt: {"text": about(passage), "sleep": 0.02}
    ask(concurrency=3, requests_per_minute=1200)
    assert language_model.most_under_way <= 3
    gaps = [after - before for before, after in zip(language_model.times, language_model.times[1:], strict=False)]
    assert sum(gaps) >= 11 * 0.05 * 0.9


@pytest.mark.slow
def test_retry_after_holds_everyone_back(ask: Ask, language_model: Any) -> None:
    told = {"status": 429, "headers": {"Retry-After": "0.5"}}
    language_model.answer = lambda passage, attempt: (
        told if len(language_model.requests) == 1 else {"text": about(passage), "sleep": 0.1}
    )
    ask(concurrency=2, backoff_seconds=0)
    started = language_model.times
    assert min(time - started[0] for time in started[1:]) > 0.35


def test_a_refused_key_stops_at_once_and_is_said_without_the_key(ask: Ask, language_model: Any) -> None:
    words = "Incorrect API key provided: sk-a-secret-key-0123456789"
    language_model.answer = lambda passage, attempt: {"status": 401, "body": {"error": {"message": words}}}
    with pytest.raises(Unanswered, match=r"HTTP 401: Incorrect API key provided: \[key\]"):
        ask(concurrency=2)
    assert len(language_model.requests) <= 2


def test_a_dead_endpoint_is_given_up(ask: Ask) -> None:
    with pytest.raises(Unanswered, match="connection lost"):
        ask(base_url="http://127.0.0.1:9/v1", retries=0, concurrency=1)


FORMS = {
    "schema": lambda request: request.get("response_format", {}).get("type") == "json_schema",
    "JSON mode": lambda request: request.get("response_format") == {"type": "json_object"},
    "text": lambda request: "response_format" not in request,
}


@pytest.mark.slow
@pytest.mark.parametrize(("taken", "refused"), [("schema", 0), ("JSON mode", 1), ("text", 2)])
def test_the_best_form_of_answer_that_the_endpoint_takes_is_found_out_once(
    ask: Ask, language_model: Any, taken: str, refused: int
) -> None:
    """Also where several ask at a time; what comes in words is read with patience."""

    def answer(passage: str, attempt: int) -> Any:
        name = passage.split()[1]
        fits = FORMS[taken](next(r for r in language_model.requests[::-1] if name in r["messages"][-1]["content"]))
        return f"Here you are:\n```python\n{{'{name}': 'Name',}}\n```" if fits else {"status": 422}

    language_model.answer = answer
    run, made = ask()
    assert counts_of(run, made)["answered"] == 12
    assert len(language_model.requests) == 12 + refused
    assert all(map(FORMS[taken], language_model.requests[refused:]))


def test_an_endpoint_that_takes_a_schema_and_ignores_it_is_told_in_words(ask: Ask, language_model: Any) -> None:
    """As `transformers serve` does: beside a schema the words do not ask for JSON, so prose comes back."""

    def answer(passage: str, attempt: int) -> Any:
        asked_in_words = "Answer with one JSON object" in language_model.requests[-1]["messages"][0]["content"]
        return about(passage) if asked_in_words else {"text": "The passage is about a fish.", "finish": "length"}

    language_model.answer = answer
    run, made = ask(concurrency=1)
    assert counts_of(run, made)["answered"] == 12
    assert len(language_model.requests) == 13
    assert all(map(FORMS["JSON mode"], language_model.requests[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("first", ["max_tokens", "max_completion_tokens"])
def test_the_name_of_the_limit_is_found_out_once(ask: Ask, language_model: Any, taken: str, first: str) -> None:
    other = {"max_tokens", "max_completion_tokens"} - {taken}
    words = f"Unsupported parameter: '{other.pop()}' is not supported with this model. Use '{taken}' instead."
    refusal = {"status": 400, "body": {"error": {"message": words, "code": "unsupported_parameter"}}}
    language_model.answer = lambda passage, attempt: (
        refusal if len(language_model.requests) == 1 and taken != first else about(passage)
    )
    ask(limit_parameter=first)
    assert len(language_model.requests) == 12 + (taken != first)
    assert all(request[taken] == 2000 for request in language_model.requests[taken != first :])
    assert FORMS["schema"](language_model.requests[-1])


def test_only_the_text_of_a_message_in_parts_is_read(ask: Ask, language_model: Any) -> None:
    language_model.answer = lambda passage, attempt: {
        "message": {"content": [{"type": "thinking", "text": "{}"}, {"type": "text", "text": about(passage)}]}
    }
    run, made = ask()
    assert all(row["answer"].startswith('{"entries": [{') for row in answer_rows(run.workspace.path(made)))


def test_long_thinking_leaves_room_for_what_was_said(ask: Ask, language_model: Any) -> None:
    language_model.answer = lambda passage, attempt: "<think>" + "hm " * 30_000 + "</think>" + about(passage)
    run, made = ask(documents=1)
    (row,) = answer_rows(run.workspace.path(made))
    assert (row["answer"], row["reason"]) == (about("Zorba"), None)


def test_a_token_budget_stops_cleanly_and_counts_across_attempts(ask: Ask, language_model: Any) -> None:
    language_model.answer = once(None, after=0)
    with pytest.raises(Unanswered, match=r"12 passages, got 3 \(9 not asked; the token budget of 1,300 is spent\)"):
        ask(token_budget=1300, concurrency=1)
    with pytest.raises(Unanswered, match=r"got 3 "):
        ask(token_budget=1300, concurrency=1)
    assert len(language_model.requests) == 3
    run, made = ask(token_budget=1300, concurrency=1, share=0.25)
    assert counts_of(run, made)["stopped"] == "the token budget of 1,300 is spent"


def test_a_key_that_is_missing_is_named_and_what_was_answered_before_is_kept(
    ask: Ask, language_model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    language_model.answer = lambda passage, attempt: {"status": 400} if "Zorba" in passage else about(passage)
    with pytest.raises(Unanswered):
        ask(share=1)
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(Unanswered, match="environment variable TEST_KEY"):
        ask(share=1, base_url="https://api.openai.com/v1")
    (partial,) = (tmp_path / "ws" / "answers").iterdir()
    assert sum(row["reason"] is None for row in answer_rows(partial)) == 11


def told_soon(root: Path, count: str) -> str:
    """How many answers another process sees in the tables; a run loads what it has every half second."""
    query = "SELECT count(*) FROM anchor_answers"
    for _ in range(20):
        command = [sys.executable, "-c", "from flows.cli import main; main()", "sql", query, "--root", str(root)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        if told == count:
            break
    return told


@pytest.mark.slow
def test_answers_are_in_the_tables_before_the_stage_ends(ask: Ask, language_model: Any, tmp_path: Path) -> None:
    seen = []

    def answer(passage: str, attempt: int) -> str:
        if len(language_model.requests) == 12:
            seen.append(told_soon(tmp_path / "ws", "11"))
        return about(passage)

    language_model.answer = answer
    run, _ = ask(concurrency=1)
    assert seen == ["11"]
    with open_tables(run.workspace, write=False) as tables:
        assert tables.execute("SELECT count(*), count(DISTINCT question) FROM anchor_answers").fetchone() == (12, 12)
