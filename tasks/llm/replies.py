"""How a request can end: with a reply, or with a fault that can pass or cannot."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `refusal` where the model or its filter declined."""

    text: str
    finish: str
    refusal: str
    tokens: int
    """Prompt and answer, as the endpoint says; 0 where it does not."""


class CanPass(Exception):
    """A fault that may be gone on the next attempt. `after`: seconds that the endpoint asks to wait."""

    def __init__(self, what: str, after: float = 0.0) -> None:
        super().__init__(what)
        self.what, self.after = what, after


class CannotPass(Exception):
    """This request will never be answered; others may be."""


class Locked(CannotPass):
    """The endpoint refuses us, not the request: key, account, model or address."""


class NoSchema(CannotPass):
    """The endpoint refuses the request with a JSON schema; without one it may not."""
