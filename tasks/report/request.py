"""Requests to forget: the one behind a job, and earlier ones on the same model, which stay in force."""

from datetime import date

from pydantic import model_validator

from storage.artifact import Artifact
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

    @model_validator(mode="after")
    def _in_order(self) -> "RequestSettings":
        for name in ("deadline", "next_audit"):
            later = getattr(self, name)
            if self.received and later and later < self.received:
                raise ValueError(f"expected {name} on the day received ({self.received}) or after it, found {later}")
        return self


class Earlier(Settings):
    """A request that an earlier job carried out on the model that this one goes on with."""

    job: str
    original: str
    """Fingerprint of the model before any request."""
    corpus: Artifact
    dictionary: Artifact
    labels: Artifact
    """They stay in force: the student learns them beside its own."""
    evaluations: tuple[Artifact, ...] = ()
    """Of the model before any request and of the one that this job chose, by prompts from the request's corpus."""
    audit: Artifact | None = None
    """The attacks on that model, where they were made."""
