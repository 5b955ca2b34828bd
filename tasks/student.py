"""student: the baseline finetuned on generic labels; this is the model that forgets.

Count in steps, not epochs: the paper's "2 epochs" do not add up to its 120 steps at its batch.
"""

import os
import shutil
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from storage.artifact import Artifact
from storage.files import sync_below
from tasks.labels import TRAINING
from tasks.models import Model
from tasks.retained import RETAINED
from tasks.settings import Training
from tasks.stage import Counts, Work, stage


class StudentSettings(Training):
    """Finetuning on generic labels (METHOD.md 4). The defaults are the paper's."""

    learning_rate: float = 1e-6
    """Peak learning rate."""
    steps: int = 150
    """Optimizer steps."""
    keep: tuple[int, ...] = (20, 40, 60, 80, 100, 120)
    """Steps whose model is kept and evaluated, besides the last."""

    retain: float = Field(default=0.0, ge=0, lt=1)
    """Share of each batch that is generic text to keep (retain.paths), labelled with its own next tokens. The paper
    has none: all of a batch is the target's."""

    hardening: float = Field(default=0.0, ge=0)
    """Learn the same labels at a second place as well: the weights moved by this many times what reinforcement changed.
    Whoever finetunes the student on the target moves them that way. Costs as much time again and two more copies of
    the weights in memory. The paper has 0."""

    @field_validator("steps")
    @classmethod
    def _some(cls, steps: int) -> int:
        if steps < 1:
            raise ValueError("expected at least 1 step")
        return steps

    @model_validator(mode="after")
    def _both(self) -> "StudentSettings":
        if self.retain and not 0 < self.retained < self.batch:
            raise ValueError(
                f"expected retain to leave a batch of {self.batch} blocks some of both, found {self.retain}"
            )
        return self

    @property
    def kept(self) -> tuple[int, ...]:
        """All steps whose model is kept, the last one included."""
        return tuple(sorted({step for step in self.keep if 0 < step < self.steps} | {self.steps}))

    @property
    def retained(self) -> int:
        """Blocks of each batch that are retained text."""
        return round(self.batch * self.retain)


def part_of(step: int) -> str:
    """Where the model of a step lies within the artifact."""
    return f"steps/{step:06d}"


@stage("student", version=2, heavy=True)
def student(
    work: Work,
    labels: Artifact,
    baseline: Model,
    settings: StudentSettings,
    until: int | None = None,
    before: Artifact | None = None,
    retained: Artifact | None = None,
    reinforced: Model | None = None,
) -> Counts:
    """Write the student of every kept step to steps/NNNNNN, each an ordinary Hugging Face directory.

    With `until` the training pauses at that step and keeps its checkpoint; `before` is the same training up to an
    earlier pause, which goes on here and ends where an undisturbed one does. `retained` is the text to keep,
    `reinforced` the model that hardening is about.
    """
    from tasks.examples import Retained
    from tasks.training import Course, Hardening, train

    if before:
        go_on_from(work.path(before), work.folder)
    keep = {step: f"{step:06d}" for step in settings.kept}
    course = Course(settings.steps, keep, until)
    other = Retained(work.path(retained) / RETAINED, settings.batch, settings.retained) if retained else None
    harder = Hardening(reinforced, settings.hardening) if reinforced else None
    history = train(work, baseline, work.path(labels) / TRAINING, settings, course, other, harder)
    kept = len(list((work.folder / "steps").iterdir()))
    return {"steps": until or settings.steps, "kept": kept, "loss": round(history[-2]["loss"], 4)}


def go_on_from(before: Path, folder: Path) -> None:
    """Models and checkpoint of an earlier pause, as links: a file of either is replaced, never written into."""
    for part in ("steps", "checkpoints"):
        if not (folder / part).exists():  # else this is a second attempt, which has got further
            temporary = folder / f".{part}"
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(before / part, temporary, copy_function=os.link)
            sync_below(temporary)
            temporary.rename(folder / part)
