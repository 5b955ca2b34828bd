"""An earlier request on the same model: what a later job keeps of it, and how its own model was tested on it."""

from storage.artifact import Artifact
from storage.settings import Settings


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
