"""The audit's settings, and the texts that attacks need besides the target."""

from pydantic import Field, model_validator

from storage.files import Hashes
from storage.settings import Settings
from tasks.texts import Texts, find_files


class PassageSettings(Settings):
    """Passages of the target, and of the texts that it is compared with."""

    count: int = Field(default=100, ge=1)
    """Passages, drawn from all that are long enough."""
    tokens: int = Field(default=100, ge=4)
    """Length of a passage (Carlini et al. 2023 give 50 tokens and look for 50)."""
    given: int = Field(default=50, ge=1)
    """Tokens of a passage that the model is given to go on with."""
    seed: int = 0
    """Draws the passages."""

    @model_validator(mode="after")
    def _leaves_something(self) -> "PassageSettings":
        if self.given >= self.tokens:
            raise ValueError(f"expected given < tokens, found {self.given} of {self.tokens}")
        return self


class QuestionSettings(Settings):
    """Cloze questions made from the target."""

    count: int = Field(default=100, ge=1)
    """Questions."""
    choices: int = Field(default=4, ge=2)
    """Anchors to choose from, where the dictionary has as many of a kind."""
    hints: int = Field(default=3, ge=0)
    """Sentences of the target in front of a question, in the test with hints."""
    seed: int = 0
    """Draws questions and choices."""


class RelearningSettings(Settings):
    """A short finetune that tries to bring the knowledge back."""

    documents: int = Field(default=20, ge=1)
    """Texts that the model is finetuned on."""
    characters: int = Field(default=2000, ge=100)
    """Longer documents count as several texts of at most this length."""
    steps: tuple[int, ...] = (0, 5, 10, 15, 20)
    """Optimizer steps after which familiarity is measured."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Constant learning rate of AdamW."""
    batch: int = Field(default=16, ge=1)
    """Blocks a step."""
    length: int = Field(default=128, ge=2)
    """Tokens of a block."""
    seed: int = 0
    """Draws the texts and the order of their blocks."""


class QuantisationSettings(Settings):
    """Rounding of the weights."""

    bits: tuple[int, ...] = (8, 4)
    """Widths that are tried."""
    group: int = Field(default=64, ge=1)
    """Neighbouring weights that share a scale."""
    bitsandbytes: bool = False
    """Also load the model through bitsandbytes, with these widths; needs the package and a GPU."""


class AuditSettings(Settings):
    """The attacks of `nepenthe audit`, and the texts that they need besides the job's."""

    neighbours: tuple[str, ...] = ()
    """Text near the target (its genre, its author) without its content: files or folders. For side effects, as related
    text in relearning, and as control in verbatim attacks."""
    nonmembers: tuple[str, ...] = ()
    """Text as like the target as can be that no model has read, for membership inference; by default the neighbours."""
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
    quantisation: QuantisationSettings = QuantisationSettings()
    """Rounding of the weights."""


class AuditTexts(Settings):
    """The texts that attacks need besides the target; None where the job names none."""

    neighbours: Texts | None
    nonmembers: Texts | None
    heldout: Texts | None

    def missing(self) -> dict[str, str]:
        """Attacks that cannot be made, each with the reason."""
        reasons = {}
        if not self.nonmembers:
            reasons["membership"] = (
                "needs text as like the target as can be that no model has read (audit.nonmembers or "
                "audit.neighbours); the translated blocks are no such text: they are the target with other names"
            )
        if not self.neighbours:
            reasons["side-effects"] = "needs text near the target without its content (audit.neighbours)"
            reasons["relearning on related text"] = reasons["side-effects"]
        if not self.heldout:
            reasons["relearning on unrelated text"] = "needs generic text (evaluation.heldout)"
        return reasons


def find_audit_texts(settings: AuditSettings, heldout: Texts | None, hashes: Hashes) -> AuditTexts:
    """The files that the settings name. Raises BadInput for what is missing."""

    def found(paths: tuple[str, ...], name: str) -> Texts | None:
        if not paths:
            return None
        return Texts(files=find_files(paths, hashes, f"audit.{name}"), column=settings.text_column)

    neighbours = found(settings.neighbours, "neighbours")
    nonmembers = found(settings.nonmembers, "nonmembers") or neighbours
    return AuditTexts(neighbours=neighbours, nonmembers=nonmembers, heldout=heldout)
