"""What numbers say, judged by rule: the one form of a verdict, of a measure in the report and of an attack."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TONES = {
    "good": ("gone", "kept", "nothing", "natural", "weaker"),
    "partly": ("reduced", "unsure", "some", "avoided"),
    "bad": ("lost", "unchanged", "increased", "most", "harmed", "marked", "enough"),
}


def name_of(metric: str, task: str) -> str:
    """A measure's name for a person."""
    return task if metric == "accuracy" else ", ".join(filter(None, (metric.replace("_", ", "), task)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """About a measure or an attack: the rule that held, the same in a few words, and in a sentence with the numbers."""

    about: str
    status: str
    word: str
    sentence: str
    values: Mapping[str, str] = field(default_factory=dict)
    """What was judged, as a person reads it, by the names of a row."""

    @property
    def tone(self) -> str:
        """good, partly, bad or unknown."""
        return next((tone for tone, statuses in TONES.items() if self.status in statuses), "unknown")

    def row(self, name: str) -> dict[str, Any]:
        """As it stands in the evidence, what it is about by this name."""
        facts = {"status": self.status, "word": self.word, "sentence": self.sentence, "tone": self.tone}
        return {name: self.about} | facts | dict(self.values)
