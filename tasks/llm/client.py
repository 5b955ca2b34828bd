"""One request to an OpenAI-compatible endpoint, through the `openai` package, and what its end means.

The package's own retries are off. A retry must take its turn under the rate limit, and a
Retry-After must hold all workers, which a client that sleeps by itself can do neither of.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import Any

import httpx2
import openai

from dictionaries.prompts import response_format
from tasks.llm.replies import JSON_MODE, LIMITS, SCHEMA, CannotPass, CanPass, Form, Locked, Reply, Unsupported
from tasks.llm.settings import Endpoint, LlmSettings

LONGEST_BODY = 2_000_000  # bytes of a response; an endpoint that sends more is cut off
SHOWN = 200  # characters of an endpoint's error
FILTERED = "content_filter"  # refuses the passage itself: asked in another form it would be refused again
SHORTEST_KEY = 8  # a shorter one ("ollama") is no secret, and taking it out would spoil answers


class Client:
    """Asks, with nothing but one answer or one of the exceptions above as the end. Texts bear no key."""

    def __init__(
        self, endpoint: Endpoint, settings: LlmSettings, key: str, messages: Callable[[str, bool], Any]
    ) -> None:
        self.endpoint, self.settings, self._key, self._messages = endpoint, settings, key, messages
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=0, timeout=endpoint.timeout_seconds
        )
        self.close = self._client.close

    async def ask(self, passage: str, form: Form) -> Reply:
        """The model's reply about a passage. Raises CanPass, CannotPass, Locked or Unsupported."""
        try:
            async with asyncio.timeout(self.endpoint.timeout_seconds):
                return self._reply(await self._body(passage, form))
        except (TimeoutError, openai.APITimeoutError):
            raise CanPass("timed out") from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise CanPass(f"connection lost ({type(error.__cause__ or error).__name__})") from None
        except openai.APIStatusError as error:
            if error.status_code == 400 and FILTERED in (error.code, error.type):
                return Reply("", FILTERED, self._without_key(_words_of(error)), 0)
            raise self._meaning(error) from None
        except openai.OpenAIError as error:
            raise CanPass(self._without_key(f"unusable response: {error}")) from None

    async def _body(self, passage: str, form: Form) -> bytes:
        fields: dict[str, Any] = {form.limits[0]: self.settings.answer_tokens}
        if form.answers[0] in (SCHEMA, JSON_MODE):
            fields["response_format"] = response_format() if form.answers[0] == SCHEMA else {"type": "json_object"}
        if self.settings.temperature != "default":
            fields["temperature"] = self.settings.temperature
        request = self._client.chat.completions.with_streaming_response.create(
            model=self.settings.model,
            messages=self._messages(passage, form.answers[0] == SCHEMA),
            **fields,
        )
        body = bytearray()
        async with request as response:
            async for chunk in response.iter_bytes():
                body += chunk
                if len(body) > LONGEST_BODY:
                    raise CannotPass(f"response of more than {LONGEST_BODY:,} bytes")
        return bytes(body)

    def _reply(self, body: bytes) -> Reply:
        """Only the few fields that count, whatever else an endpoint leaves out or adds."""
        try:
            reply = json.loads(body)
            usage = reply.get("usage") or {}
            tokens = max(0, int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0))
            if not reply["choices"]:
                return Reply("", "", "", tokens)
            choice = reply["choices"][0]
            text, refusal = _said(choice["message"].get("content")), choice["message"].get("refusal") or ""
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise CanPass("response that is no chat completion") from None
        if not isinstance(refusal, str):
            raise CanPass("response that is no chat completion")
        finish = str(choice.get("finish_reason") or "").lower()
        return Reply(self._without_key(text), finish, self._without_key(refusal), tokens)

    def _meaning(self, error: openai.APIStatusError) -> Exception:
        status = error.status_code
        what = self._without_key(f"HTTP {status}: {_words_of(error)}")
        if status in (401, 403, 404) or error.code == "insufficient_quota":
            return Locked(what)
        if status in (408, 409, 425, 429) or status >= 500:
            after = seconds_to_wait(error.response.headers)
            if after > self.endpoint.longest_wait_seconds:
                return Locked(f"{what} (asks to wait {after:.0f} seconds)")
            return CanPass(what, after)
        return Unsupported(what, next((name for name in LIMITS if name in str(error.body)), None))

    def _without_key(self, text: str) -> str:
        """An endpoint may repeat what it was sent."""
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_KEY else text


def _said(content: Any) -> str:
    """A message's text. Some endpoints send it in parts, thinking among them; `reasoning_content` is never read."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if part.get("type") in ("text", "output_text"))
    if not isinstance(content, str | None):
        raise TypeError(f"expected a text, found {type(content).__name__}")
    return content or ""


def _words_of(error: openai.APIStatusError) -> str:
    body = error.body
    words = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(words or error.message).split())[:SHOWN]


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """What Retry-After (seconds or a date), or retry-after-ms, asks for; 0 where there is none that makes sense."""
    after = headers.get("retry-after", "")
    try:
        if "retry-after-ms" in headers:
            wait = float(headers["retry-after-ms"]) / 1000
        elif (date := parsedate_tz(after)) is not None:
            wait = mktime_tz(date) - time.time()
        else:
            wait = float(after)
    except (ValueError, OverflowError, TypeError):
        return 0.0
    return max(0.0, wait) if not math.isnan(wait) else 0.0
