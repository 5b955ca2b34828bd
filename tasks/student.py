"""student: the baseline finetuned on generic labels; this is the model that forgets.

Count in steps, not epochs: the paper's "2 epochs" do not add up to its 120 steps at its batch.
"""

import os
import shutil
from pathlib import Path

from storage.artifact import Artifact
from storage.files import whole_folder
from tasks.contents import RETAINED, STEPS, TRAINING, UPDATES, read_json, write_json
from tasks.engine.stage import Context, Counts, stage
from tasks.models import Model
from tasks.training.ranks import train
from tasks.training.settings import Hardening, KeptText, Schedule, StudentSettings, TrainingSpec


@stage("student", version=2, heavy=True)
def student(
    context: Context,
    labels: Artifact,
    baseline: Model,
    settings: StudentSettings,
    until: int | None = None,
    before: Artifact | None = None,
    retained: Artifact | None = None,
    reinforced: Model | None = None,
    *,
    earlier: list[Artifact] | None = None,
) -> Counts:
    """Write the student of every kept step to steps/NNNNNN, each an ordinary Hugging Face directory, and updates.json.

    With `until` the training pauses at that step and keeps its checkpoint; `before` is the same training up to an
    earlier pause, which goes on here and ends where an undisturbed one does. `retained` is the text to keep,
    `reinforced` the model that hardening is about, `earlier` the labels of earlier requests, which stay in force.
    """
    from tasks.training.examples import Retained

    if before:
        go_on_from(context.path(before), context.folder)
    kept = [context.path(retained) / RETAINED] if retained else []
    kept += [context.path(labels_in_force) / TRAINING for labels_in_force in earlier or ()]
    spec = TrainingSpec(
        context,
        baseline,
        data=context.path(labels) / TRAINING,
        settings=settings,
        schedule=Schedule(settings.steps, {step: f"{step:06d}" for step in settings.kept}, until),
        retained=Retained(tuple(kept), settings.batch, settings.retained) if kept else None,
        hardening=Hardening(reinforced, settings.hardening) if reinforced else None,
        kept_text=KeptText(kept[0], settings.null_space) if settings.null_space else None,
    )
    history = train(spec)
    models = write_updates(context.folder, Path(baseline.path), context.path(before) if before else None)
    return {"steps": until or settings.steps, "kept": models, "loss": round(history[-2]["loss"], 4)}


def write_updates(folder: Path, baseline: Path, before: Path | None) -> int:
    """How far the model of every kept step is from the baseline, to updates.json. Returns how many there are.

    Those of an earlier pause were looked at there, unless an earlier release made it.
    """
    from tasks.measure.update import update_of

    updates = read_json(before / UPDATES) if before and (before / UPDATES).exists() else {}
    models = {str(int(model.name)): model for model in sorted((folder / STEPS).iterdir())}
    updates |= {step: update_of(baseline, model) for step, model in models.items() if step not in updates}
    write_json(folder / UPDATES, updates)
    return len(models)


def go_on_from(before: Path, folder: Path) -> None:
    """Models and checkpoint of an earlier pause, as links: a file of either is replaced, never written into."""
    for part in (STEPS, "checkpoints"):
        if not (folder / part).exists():  # else this is a second attempt, which has got further
            with whole_folder(folder / part) as temporary:
                shutil.copytree(before / part, temporary, copy_function=os.link)
