"""Asks about many passages at a time, with patience for what can pass and a reason for what cannot.

A worker goes on to its next passage only when its last answer is on the disk, so a
killed run loses at most the requests that were under way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dictionaries.answers import PARTIAL, read_answer, without_thinking
from dictionaries.prompts import extraction_messages
from dictionaries.validation import validate
from tasks.llm.pace import Budget, Pace, backoff
from tasks.llm.passages import Passage
from tasks.llm.replies import LIMITS, SCHEMA, TEXT, CannotPass, CanPass, Form, Locked, Reply, Unsupported
from tasks.llm.settings import Endpoint, LlmSettings, read_key

CHARACTERS_PER_TOKEN = 4
PROMPT_TOKENS = 600  # instructions and schema
ENTRIES_TOKENS = 400  # an answer: GPT-4's 380 had 15 entries on average
PATIENCE = 10  # passages in a row without any reply before the endpoint is given up
REFUSED = "refused"
ANOTHER_TEXT = "about another text"
NO_REPLY = "no reply"
FINAL = (None, REFUSED)  # asking again would not change these
USABLE = (None, PARTIAL)
"""Reasons of answers whose entries count."""
_FILTERS = ("content_filter", "safety", "prohibited_content", "blocklist", "recitation")
_LIMITS = ("length", "max_tokens")


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one passage. `reason` is None where the answer can be read; `detail` has the last fault."""

    passage: Passage
    answer: str
    reason: str | None
    detail: str
    requests: int
    tokens: int


def judge(reply: Reply, passage: str) -> str | None:
    """None for a readable answer about this passage, else the reason: one of the above or of ANSWER_REASONS.

    An answer whose list is empty is an answer (the passage has nothing peculiar). One whose expressions all stand
    nowhere in the passage is about another text, and counts as none.
    """
    if reply.refusal or reply.finish in _FILTERS:
        return REFUSED
    answer = read_answer(reply.text)
    kept, refused = validate(answer.proposals, passage)
    strange = {"not in the passage", "no letter"}  # the latter: the form of an answer, sent back as it was
    if refused and not kept and strange.issuperset(reason for _, reason in refused):
        return ANOTHER_TEXT
    if reply.finish in _LIMITS:
        return PARTIAL if answer.proposals else "truncated"
    return answer.reason


class Stopped(Exception):
    """No further passage was asked about; the message says why."""


class Asking:
    """The workers, and what they share: pace, budget, how the endpoint wants to be asked, why it was given up."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: LlmSettings,
        setting: str = "dictionary.endpoint",
        messages: Callable[[str, bool], Any] = extraction_messages,
        worth: Callable[[Reply, str], str | None] = judge,
        spent: int = 0,
    ) -> None:
        """`setting`: what the user calls the endpoint. Raises Unanswered where it has no key."""
        from tasks.llm.client import Client  # the openai package takes a second: only who asks imports it

        self.endpoint, self.settings, self.worth = endpoint, settings, worth
        self.client = Client(endpoint, settings, read_key(endpoint, setting), messages)
        self.pace = Pace(self.endpoint.requests_per_minute)
        self.budget = Budget(self.endpoint.token_budget, spent)
        self.dialect = Dialect(self.endpoint, self.settings)
        self.stopped = ""
        """Why no further request is made; empty while they are."""
        self.answered, self._silent = False, 0

    def about(self, passages: Iterable[Passage], keep: Callable[[Asked], Awaitable[None]]) -> str:
        """Ask about every passage, as long as that makes sense; `keep` is awaited for each. Returns `stopped`."""
        asyncio.run(self._all(iter(passages), keep))
        return self.stopped

    async def _all(self, rest: Iterator[Passage], keep: Callable[[Asked], Awaitable[None]]) -> None:
        workers = [asyncio.create_task(self._work(rest, keep)) for _ in range(self.endpoint.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:  # the keeping failed, or somebody pressed Ctrl-C
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self.client.close()

    async def _work(self, rest: Iterator[Passage], keep: Callable[[Asked], Awaitable[None]]) -> None:
        for passage in rest:
            try:
                asked = await Question(self, passage).asked()
            except Stopped as stop:
                self.stopped = self.stopped or str(stop)
                return
            await keep(asked)
            self._count(asked)
            if self.stopped:
                return

    def _count(self, asked: Asked) -> None:
        if asked.reason != NO_REPLY:
            self.answered, self._silent = True, 0
            return
        self._silent += 1
        if self._silent >= PATIENCE:
            self.stopped = self.stopped or f"the last {self._silent} passages got no reply: {asked.detail}"


class Dialect:
    """The form of question that the endpoint takes: known from its first answer on, and found out by one worker.

    Some endpoints take a schema and ignore it. Who answers in prose is from then on told in words what is wanted.
    """

    def __init__(self, endpoint: Endpoint, settings: LlmSettings) -> None:
        limits = tuple(sorted(LIMITS, key=lambda name: name != endpoint.limit_parameter))
        self.form = Form(limits=limits) if settings.structured else Form((TEXT,), limits)
        self.known = False
        self._lock = asyncio.Lock()

    async def ask(self, once: Callable[[Form], Awaitable[Reply]]) -> Reply:
        """Raises what `once` raises; Unsupported only where no form is left."""
        if not self.known:
            async with self._lock:
                if not self.known:
                    return await self._negotiated(once)
        return await once(self.form)

    def heard(self, reply: Reply) -> None:
        """Notice an answer without any object in it."""
        said = without_thinking(reply.text)
        if self.form.answers[0] == SCHEMA and said.strip() and "{" not in said:
            self.form = self.form.without(None) or self.form

    async def _negotiated(self, once: Callable[[Form], Awaitable[Reply]]) -> Reply:
        form = self.form
        while True:
            try:
                reply = await once(form)
            except Unsupported as refusal:
                other = form.without(refusal.parameter)
                if other is None:
                    raise
                form = other
            else:
                self.form, self.known = form, True
                return reply


class Question:
    """One passage, asked about until there is an answer or a reason why not, and what that cost."""

    def __init__(self, asking: Asking, passage: Passage) -> None:
        self._asking, self._passage = asking, passage
        self._requests = self._tokens = 0

    async def asked(self) -> Asked:
        """The end of it. Raises Stopped where the passage was not answered because no request may be made any more."""
        answer, detail = "", ""
        reason: str | None = NO_REPLY
        for _ in range(self._asking.settings.reasks + 1):
            try:
                reply = await self._patiently()
            except CannotPass as fault:
                detail = str(fault)
                break
            except Stopped:
                if reason == NO_REPLY:
                    raise
                break
            judgement = self._asking.worth(reply, self._passage.text)
            self._asking.dialect.heard(reply)
            if reason != PARTIAL or judgement in FINAL:  # what was saved of a broken answer is not given up for less
                answer, reason, detail = reply.text, judgement, reply.refusal
            if reason in FINAL:
                break
        return Asked(self._passage, answer, reason, detail, self._requests, self._tokens)

    async def _patiently(self) -> Reply:
        """One reply, retried as long as a fault can pass. Raises CannotPass or Stopped."""
        endpoint = self._asking.endpoint
        for attempt in range(endpoint.retries + 1):
            try:
                return await self._asking.dialect.ask(self._once)
            except Locked as fault:  # a refusal of ourselves concerns every passage, unless others were answered
                raise (CannotPass if self._asking.answered else Stopped)(str(fault)) from None
            except CanPass as fault:
                what = fault.what
                self._asking.pace.hold(fault.after)
                if attempt < endpoint.retries and not self._asking.stopped:
                    await asyncio.sleep(backoff(endpoint.backoff_seconds, attempt, endpoint.longest_wait_seconds))
        raise CannotPass(f"{what}, {endpoint.retries + 1} times")

    async def _once(self, form: Form) -> Reply:
        """One request in its turn. Raises Stopped where it may not be made."""
        asking, estimate, cost = self._asking, tokens_for(len(self._passage.text)), 0
        if asking.stopped:
            raise Stopped(asking.stopped)
        if not asking.budget.allows(estimate):
            raise Stopped(f"the token budget of {asking.endpoint.token_budget:,} is spent")
        try:
            await asking.pace.turn()
            self._requests += 1
            reply = await asking.client.ask(self._passage.text, form)
            cost = reply.tokens or estimate
            return reply
        finally:
            self._tokens += cost
            asking.budget.settle(estimate, cost)


def tokens_for(characters: int) -> int:
    """What one question about a passage of this length may cost, prompt and answer."""
    return PROMPT_TOKENS + characters // CHARACTERS_PER_TOKEN + ENTRIES_TOKENS
