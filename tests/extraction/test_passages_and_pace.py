"""Cutting the corpus, and asking neither too fast nor for too much."""

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from tasks.llm.client import seconds_to_wait
from tasks.llm.pace import Budget, Pace, backoff
from tasks.llm.passages import Passage, drawn, passages_of

TEXT = "One went home. Two stayed at the inn for the night.\n\nThree came by boat, in the rain, without a coat. " * 3


@given(st.lists(st.text(alphabet="ab .\n", max_size=400), max_size=4), st.integers(1, 60))
def test_passages_leave_nothing_out_and_stand_where_they_say(documents: list[str], characters: int) -> None:
    found = list(passages_of(documents, characters))
    texts = [passage.text for passage in found]
    assert len(texts) == len(set(texts))
    for passage in found:
        assert len(passage.text) <= characters
        assert documents[passage.document][passage.first : passage.first + len(passage.text)] == passage.text
    covered = [bytearray(len(text)) for text in documents]
    for number, text in enumerate(documents):
        for passage in texts:
            at = text.find(passage)
            while at >= 0:
                covered[number][at : at + len(passage)] = b"\x01" * len(passage)
                at = text.find(passage, at + 1)
    left = [
        "".join(c for c, seen in zip(t, m, strict=True) if not seen) for t, m in zip(documents, covered, strict=True)
    ]
    assert not "".join(left).strip()


def test_passages_end_with_a_paragraph_else_a_sentence_else_a_word() -> None:
    def first(characters: int) -> str:
        return next(passages_of([TEXT], characters)).text

    assert first(70).endswith("night.\n\n")
    assert first(24) == "One went home. "
    assert first(48) == "One went home. Two stayed at the inn for the "


def test_a_draw_keeps_the_order_of_the_text_and_hangs_on_the_seed() -> None:
    every = [Passage(0, first, "x") for first in range(100)]
    ten = drawn(every, 10, seed=1)
    assert ten == sorted(ten, key=lambda passage: passage.first) == drawn(every, 10, seed=1)
    assert ten != drawn(every, 10, seed=2)
    assert drawn(every, 1000, seed=1) == drawn(every, None, seed=1) == every


def test_turns_are_spaced_and_a_hold_delays_everyone() -> None:
    async def go() -> list[float]:
        pace, started = Pace(60 / 0.02), time.monotonic()
        times = []

        async def turn() -> None:
            await pace.turn()
            times.append(time.monotonic() - started)
            if len(times) == 2:
                pace.hold(0.1)

        await asyncio.gather(*[turn() for _ in range(4)])
        return times

    times = asyncio.run(go())
    assert times[1] - times[0] > 0.015
    assert times[2] - times[1] > 0.09


def test_a_budget_promises_no_more_than_it_has() -> None:
    budget = Budget(1000, spent=100)
    assert budget.allows(500)
    assert not budget.allows(500)
    budget.settle(500, 200)
    assert budget.allows(700)
    assert not budget.allows(1)
    assert Budget(None).allows(10**12)


def test_backoff_doubles_with_jitter_up_to_a_limit() -> None:
    for attempt, usual in enumerate((1, 2, 4, 8, 8)):
        waits = {backoff(1.0, attempt, 8.0) for _ in range(50)}
        assert len(waits) > 1
        assert all(usual / 2 <= wait <= usual * 1.5 for wait in waits)


def test_retry_after_is_read_in_every_form() -> None:
    assert seconds_to_wait({"retry-after": "7"}) == 7
    assert seconds_to_wait({"retry-after": "7", "retry-after-ms": "250"}) == 0.25
    assert seconds_to_wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert seconds_to_wait({"retry-after": "Wed, 21 Oct 2089 07:28:00 GMT"}) > 1e9
    for nonsense in ("", "soon", "nan", "-3"):
        assert seconds_to_wait({"retry-after": nonsense}) == 0
    assert seconds_to_wait({}) == 0
