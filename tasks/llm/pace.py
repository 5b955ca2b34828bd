"""How fast, and how much: requests a minute over all workers, and a budget of tokens.

A Retry-After holds everyone back, not only the worker that heard it, because the limit
that it speaks of is the account's.
"""

import asyncio
import random
import time


class Pace:
    """Hands out turns, evenly spaced."""

    def __init__(self, requests_per_minute: float) -> None:
        self._gap = 60 / requests_per_minute
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Wait until the next request may start."""
        async with self._lock:
            while (wait := self._next - time.monotonic()) > 0:
                await asyncio.sleep(wait)  # and look again: a hold may have come in between
            self._next = time.monotonic() + self._gap

    def hold(self, seconds: float) -> None:
        """No request starts for so long."""
        self._next = max(self._next, time.monotonic() + seconds)


class Budget:
    """Tokens spent and promised. What is under way counts by its estimate until its answer says what it cost."""

    def __init__(self, tokens: int | None, spent: int = 0) -> None:
        self._tokens, self._spent = tokens, spent

    def allows(self, estimate: int) -> bool:
        """Whether a request of this size may still start; if so it is counted."""
        if self._tokens is not None and self._spent + estimate > self._tokens:
            return False
        self._spent += estimate
        return True

    def settle(self, estimate: int, cost: int) -> None:
        """A request of this estimate is over."""
        self._spent += cost - estimate


def backoff(first: float, attempt: int, longest: float) -> float:
    """Seconds before the retry after `attempt` (from 0): doubling, between half and one and a half of it."""
    return float(min(longest, first * 2**attempt) * random.uniform(0.5, 1.5))
