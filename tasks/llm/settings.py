"""What a language model is asked, and where.

`LlmSettings` are meaning and part of the fingerprint, `Endpoint` is placement and is
not: the same model at another address, or asked faster, gives the same artifact. No key is a setting, only its name.
"""

import os
import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from storage.errors import BadInput, Unanswered
from storage.settings import Seed, Settings

OPENAI = "https://api.openai.com/v1"
NO_KEY = "no-key"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class LlmSettings(Settings):
    """The question: which model, about which passages."""

    model: str = ""
    """Name of the model, as the endpoint knows it."""
    characters: int = Field(default=4000, ge=200)
    """Longest passage. Passages end where a paragraph, a sentence or at least a word ends."""
    passages: int | None = Field(default=None, ge=1)
    """How many passages are asked about, drawn by seed; by default all of the corpus (the paper: 380)."""
    seed: Seed = 0
    """Draws the passages."""
    temperature: float | Literal["default"] = 0.0
    """Sampling temperature; "default" sends none, for models that refuse one."""
    answer_tokens: int = Field(default=2000, ge=8)
    """Longest answer. A longer one is cut by the endpoint, and counts as truncated."""
    structured: bool = True
    """Ask for an answer by JSON schema. An endpoint that refuses is asked in JSON mode, or in words, by itself."""
    share: float = Field(default=0.95, ge=0, le=1)
    """Least share of passages with a readable answer. Below it the stage fails; what was answered is kept."""
    reasks: int = Field(default=1, ge=0)
    """How often a passage is asked again whose answer was truncated, malformed or about another text."""


class Endpoint(Settings):
    """Where the question goes, and how fast. Never part of a fingerprint."""

    base_url: str = OPENAI
    """Address of an OpenAI-compatible endpoint (OpenAI, vLLM, Ollama, ...)."""
    key_variable: str = "OPENAI_API_KEY"
    """NAME of the environment variable that holds the key, never the key."""
    key_block: str = ""
    """Name of the Prefect Secret block that holds the key; used instead of the variable where it is given."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at a time."""
    requests_per_minute: float = Field(default=500.0, gt=0)
    """Requests started a minute, retries included."""
    token_budget: int | None = Field(default=None, ge=1)
    """Tokens that the extraction may cost, prompts and answers, earlier attempts of the same job included."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """Longest time for one answer, from the request to its last byte."""
    retries: int = Field(default=5, ge=0)
    """How often a request is made again after a fault that can pass: 429, 500s, time-outs, a lost connection."""
    backoff_seconds: float = Field(default=1.0, ge=0)
    """Wait before the first retry; doubled for each further one, with jitter. Retry-After counts where it is longer."""
    longest_wait_seconds: float = Field(default=120.0, ge=0)
    """A longer Retry-After than this counts as a fault that does not pass."""
    limit_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the longest answer; it is asked by the other name where it refuses this one."""

    @property
    def fingerprint(self) -> str:
        """Every endpoint is the same one."""
        return "anywhere"


def refuse_secrets(endpoint: Endpoint, setting: str = "dictionary.endpoint") -> None:
    """BadInput where a key seems to stand in the settings. The sentence does not repeat what it found."""
    if not _VARIABLE.fullmatch(endpoint.key_variable):
        raise BadInput(
            f"{setting}.key_variable: expected the NAME of an environment variable (capital letters, digits, "
            "underscores), found something else, not shown because it may be the key: put the key into the environment"
        )
    address = urlsplit(endpoint.base_url)
    if address.scheme not in ("http", "https") or not address.hostname or address.query or "@" in address.netloc:
        raise BadInput(
            f"{setting}.base_url: expected http(s)://host[:port]/path without user, password or query, found "
            "something else, not shown because it may hold a secret"
        )


def read_key(endpoint: Endpoint, setting: str = "dictionary.endpoint") -> str:
    """The key, for the client alone: it must go nowhere else. Raises Unanswered where there is none.

    Not BadInput, which would remove what an earlier attempt was answered.
    """
    if endpoint.key_block:
        return _from_block(endpoint.key_block)
    key = os.environ.get(endpoint.key_variable, "")
    if not key and endpoint.base_url.startswith(OPENAI):
        option = setting.startswith("--")
        other = "another variable with --key-variable" if option else f"a Prefect Secret block in {setting}.key_block"
        raise Unanswered(
            f"expected a key in the environment variable {endpoint.key_variable}, found none: set it, or name {other}"
        )
    return key or NO_KEY  # a server of one's own mostly wants none, the client wants some text


def _from_block(name: str) -> str:
    from prefect.blocks.system import Secret

    try:
        return str(Secret.load(name).get())  # type: ignore[union-attr]
    except ValueError as error:
        raise Unanswered(f"expected a Prefect Secret block {name}, found none: make it, or unset key_block") from error
