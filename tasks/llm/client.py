"""One request to an OpenAI-compatible endpoint, through the `openai` package, and what its end means.

The package's own retries are off. A retry must take its turn under the rate limit, and a
Retry-After must hold all workers, which a client that sleeps by itself can do neither of.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from types import TracebackType
from typing import Any

import httpx2
import openai

from dictionaries.prompts import extraction_messages, response_format
from tasks.llm.replies import CannotPass, CanPass, Locked, NoSchema, Reply
from tasks.llm.settings import Endpoint, LlmSettings

LONGEST_BODY = 2_000_000  # bytes of a response; an endpoint that sends more is cut off
SHOWN = 200  # characters of an endpoint's error
SHORTEST_KEY = 8  # a shorter one ("ollama") is no secret, and taking it out would spoil answers


class Client:
    """Asks, with nothing but one answer or one of the exceptions above as the end. Texts bear no key."""

    def __init__(self, endpoint: Endpoint, settings: LlmSettings, key: str) -> None:
        self._endpoint, self._settings, self._key = endpoint, settings, key
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=0, timeout=endpoint.timeout_seconds
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def ask(self, passage: str, structured: bool) -> Reply:
        """The model's reply about a passage. Raises CanPass, CannotPass, Locked or NoSchema."""
        try:
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                return self._reply(await self._body(passage, structured))
        except (TimeoutError, openai.APITimeoutError):
            raise CanPass("timed out") from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise CanPass(f"connection lost ({type(error.__cause__ or error).__name__})") from None
        except openai.APIStatusError as error:
            raise self._meaning(error, structured) from None
        except openai.OpenAIError as error:
            raise CanPass(self._without_key(f"unusable response: {error}")) from None

    async def _body(self, passage: str, structured: bool) -> bytes:
        form: dict[str, Any] = {"response_format": response_format()} if structured else {}
        if self._settings.temperature != "default":
            form["temperature"] = self._settings.temperature
        form[self._endpoint.limit_parameter] = self._settings.answer_tokens
        request = self._client.chat.completions.with_streaming_response.create(
            model=self._settings.model,
            messages=extraction_messages(passage, structured),  # type: ignore[arg-type]
            **form,
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
            found = json.loads(body)
            choice = found["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content") or "", message.get("refusal") or ""
            usage = found.get("usage") or {}
            tokens = int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise CanPass("response that is no chat completion") from None
        if not isinstance(text, str) or not isinstance(refusal, str):
            raise CanPass("response that is no chat completion")
        finish = str(choice.get("finish_reason") or "")
        return Reply(self._without_key(text), finish, self._without_key(refusal), max(0, tokens))

    def _meaning(self, error: openai.APIStatusError, structured: bool) -> Exception:
        status = error.status_code
        what = self._without_key(f"HTTP {status}: {_words_of(error)}")
        if status in (401, 403, 404) or error.code == "insufficient_quota":
            return Locked(what)
        if status in (408, 409, 425, 429) or status >= 500:
            after = seconds_to_wait(error.response.headers)
            if after > self._endpoint.longest_wait_seconds:
                return Locked(f"{what} (asks to wait {after:.0f} seconds)")
            return CanPass(what, after)
        return NoSchema(what) if structured else CannotPass(what)

    def _without_key(self, text: str) -> str:
        """An endpoint may repeat what it was sent."""
        return text.replace(self._key, "[key]") if len(self._key) >= SHORTEST_KEY else text


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
