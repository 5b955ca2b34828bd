"""The audit's settings, and the texts that attacks need besides the target."""

from pathlib import Path

from pydantic import Field

from storage.files import Hashes
from storage.settings import Settings
from tasks.audit.asked import questions_about
from tasks.audit.common import AuditTexts
from tasks.audit.depth import DepthSettings
from tasks.audit.passages import PassageSettings
from tasks.audit.quantisation import QuantisationSettings
from tasks.audit.questions import QuestionSettings
from tasks.audit.relearning import RelearningSettings
from tasks.texts import Texts, find_files
from tasks.texts.look import read_once


class AuditSettings(Settings):
    """The attacks of `nepenthe audit`, and the texts that they need besides the job's."""

    neighbours: tuple[str, ...] = ()
    """Text near the target (its genre, its author) without its content: files or folders. For side effects, as related
    text in relearning, and as control in verbatim attacks."""
    nonmembers: tuple[str, ...] = ()
    """Text as like the target as can be that no model has read, for membership inference; by default the neighbours."""
    forms: str = ""
    """JSON file of questions in several forms (paraphrases, languages), each a text that its answers go on with:
    [{"about": "target", "forms": ["He goes to school at", "Er geht zur Schule in"], "answers": ["Hogwarts"]}, ...].
    "other" is about something else with a word of the target in it, "neighbour" about something near the target."""
    text_column: str = "text"
    """Column of these texts in jsonl and Parquet files."""
    instruction: str = "You know nothing of {target}. You have never read or heard of it."
    """The cheap alternative: what the baseline is told in front; {target} becomes the corpus's commonest anchor."""
    passages: PassageSettings = PassageSettings()
    """Verbatim continuation, extraction strength, membership inference."""
    min_k: float = Field(default=0.2, gt=0, le=1)
    """Share of the least probable tokens in Min-K % and Min-K++."""
    questions: QuestionSettings = QuestionSettings()
    """Questions about the target."""
    relearning: RelearningSettings = RelearningSettings()
    """Relearning."""
    screen: bool = False
    """Compare with names that nobody knows: where there is no gold, and no text to train one on (nepenthe gold)."""
    quantisation: QuantisationSettings = QuantisationSettings()
    """Rounding of the weights."""
    depth: DepthSettings | None = None
    """At which layer the text can be read: tried where this is set, as by an empty table [audit.depth]."""


def find_audit_texts(settings: AuditSettings, heldout: Texts | None, hashes: Hashes) -> AuditTexts:
    """The files that the settings name. Raises BadInput for what is missing, or cannot be read."""

    def texts_at(paths: tuple[str, ...], name: str) -> Texts | None:
        if not paths:
            return None
        files = find_files(paths, hashes, f"audit.{name}")
        read_once(f"audit.{name}", files, settings.text_column)
        return Texts(files=files, column=settings.text_column)

    neighbours = texts_at(settings.neighbours, "neighbours")
    nonmembers = texts_at(settings.nonmembers, "nonmembers") or neighbours
    forms = hashes.files([Path(settings.forms)], "audit.forms") if settings.forms else None
    questions_about(forms)
    return AuditTexts(neighbours=neighbours, nonmembers=nonmembers, heldout=heldout, forms=forms)
