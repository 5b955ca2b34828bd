"""The request behind a job, for `nepenthe evidence`."""

from datetime import date

from storage.settings import Settings


class RequestSettings(Settings):
    """Who asked for the text to be forgotten. None of it is needed to run, and nothing that is made depends on it."""

    who: str = ""
    """Who asked."""
    works: tuple[str, ...] = ()
    """Which works."""
    basis: str = ""
    """On what ground: a law, a contract, a judgment."""
    received: date | None = None
    """When the request came."""
    deadline: date | None = None
    """Until when it must be answered."""
    reviewers: tuple[str, ...] = ()
    """Who looked at dictionary, evidence and verdicts."""
    next_audit: date | None = None
    """When the model is to be attacked again."""
