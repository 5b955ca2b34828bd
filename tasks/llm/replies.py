"""How a question can be put, and how a request can end: with a reply, or with a fault that can pass or cannot."""

from dataclasses import dataclass, replace

SCHEMA, JSON_MODE, TEXT = "JSON schema", "JSON mode", "text"
LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Form:
    """How an endpoint is asked: the forms of answer that it may still take, best first, and names for the limit."""

    answers: tuple[str, ...] = (SCHEMA, JSON_MODE, TEXT)
    limits: tuple[str, ...] = LIMITS

    def without(self, parameter: str | None) -> "Form | None":
        """What to try after a refusal that names this parameter of the request; None where nothing is left."""
        if parameter in LIMITS and len(self.limits) > 1:
            return replace(self, limits=self.limits[1:])
        return replace(self, answers=self.answers[1:]) if len(self.answers) > 1 else None


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


class Unsupported(CannotPass):
    """The endpoint refuses the request as it was put; `parameter` is the limit's name, where it was refused for that.

    Put in another form, the same question may be answered.
    """

    def __init__(self, what: str, parameter: str | None = None) -> None:
        super().__init__(what)
        self.parameter = parameter
