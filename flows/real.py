"""The paper's experiment on a real model: make it forget Harry Potter, with nobody's text but the model's own answers.

Two students from one cache, the paper's recipe and ours; then the attack that asks for most: each model is finetuned
further on some of the texts, at three rates, and the worst counts. The same attack with names that nobody knows, on the
baseline, shows how much of that is learned anew.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from flows.inputs import resolve
from flows.job import Job, job_of
from flows.unlearn import ROOT, Outcome, asked_about, unlearn
from storage.artifact import Artifact
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.audit.common import AuditedModel
from tasks.audit.relearning import RelearningSettings, relearning
from tasks.contents import DICTIONARY, MODEL, step_folder
from tasks.elicit import elicit
from tasks.engine.runner import Runner, planned_run
from tasks.engine.stage import Placement
from tasks.evaluation import EvaluationSettings, find_evidence
from tasks.models import find_model, made_model
from tasks.real.stages import Package, pretrained, subject
from tasks.real.subject import EVERYDAY, NAMES, SUBJECT
from tasks.texts import ElicitSettings

RATES = (1e-5, 2e-5, 5e-5)
"""Learning rates of relearning: an attacker takes the one that serves him best. At 2e-4 half of what "comes back" in 40
steps comes to names that nobody knows as well (docs/LOG.md)."""
INVENTED = "invented names"


@dataclass(frozen=True)
class Scale:
    """How much of the experiment a machine can bear."""

    names: int
    elicit: dict[str, Any]
    """How often a model is asked for text, and for how much."""
    length: int
    """Tokens of a block."""
    batch: int
    epochs: float
    paper: dict[str, Any]
    """Of the student of the paper's recipe: how long, and how fast."""
    ours: dict[str, Any]
    """Of ours."""
    suite: dict[str, Any]
    relearning: dict[str, Any]
    micro_batch: int


OURS = {"learning_rate": 1.5e-3, "steps": 24, "keep": (12,), "hardening": 9.0, "retain": 0.5, "null_space": 0.5}
SMALL = Scale(
    names=16, elicit={"rounds": 1, "times": 1, "tokens": 120}, length=128, batch=8, epochs=1, micro_batch=8,
    paper={"learning_rate": 5e-5, "steps": 16, "keep": (8,)},
    ours=OURS,
    suite={"new_tokens": 20, "window": 256, "windows": 24, "questions": 60},
    relearning={"documents": 8, "steps": (0, 10, 20, 40), "batch": 4, "length": 64, "precision": "bfloat16"},
)  # fmt: skip
"""Two CPU cores, half an hour."""
LARGE = Scale(
    names=24, elicit={"rounds": 1, "times": 2, "tokens": 300}, length=256, batch=32, epochs=3, micro_batch=16,
    paper={"learning_rate": 5e-5, "steps": 120, "keep": (30, 60)},
    ours=OURS,
    suite={"new_tokens": 50, "window": 1024, "windows": 60, "questions": 600},
    relearning={"documents": 8, "steps": (0, 10, 20, 40), "batch": 8, "length": 256, "precision": "bfloat16"},
)  # fmt: skip
"""A GPU, some minutes."""


@dataclass(frozen=True)
class Experiment:
    """What the experiment leaves behind, by recipe."""

    outcomes: dict[str, Outcome]
    relearned: dict[str, tuple[Artifact, ...]]
    """Relearning at every rate, by model: baseline, also with invented names, and the student of each recipe."""


@dataclass(frozen=True)
class Asked:
    """What a user may say about the experiment."""

    model: str = ""
    heldout: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    seed: int = 0
    rate: float | None = None
    """Learning rate of our recipe, by default the scale's, which is SmolLM2's. With it Gemma 3 forgets language, with
    3e-4 it does not (docs/LOG.md)."""


def refuse_unusable(asked: Asked, workspace: Workspace) -> None:
    """Raise BadInput for a model, text or benchmark of the user's that cannot be used."""
    if asked.model:
        find_model(asked.model, workspace.hashes)
    settings = EvaluationSettings(heldout=asked.heldout, benchmarks=asked.benchmarks)
    find_evidence(settings, workspace.hashes, Placement())


@flow(name="real", flow_run_name="real", persist_result=False)
def real(asked: Asked, scale: Scale = SMALL, root: str = ROOT, wait: float | None = None) -> Experiment:
    """Model, subject and generic text; a student by each recipe; relearning of all three models."""
    workspace = open_workspace(root)
    placement = Placement(micro_batch=scale.micro_batch)
    jobs = planned_run(workspace, "real", placement, wait, partial(prepare, asked, scale))
    outcomes = {name: unlearn(job, root, wait) for name, job in jobs.items()}
    attack = partial(relearn, jobs, outcomes, scale)
    return Experiment(outcomes, planned_run(workspace, "real-relearning", placement, wait, attack))


def prepare(asked: Asked, scale: Scale, run: Runner) -> dict[str, Job]:
    """The job of each recipe; the model, the prompts and the generic text that they name are made."""
    workspace = run.workspace
    folder = asked.model or str(workspace.model_path(run(pretrained, Package()), MODEL))
    about = run(subject)
    if not Path(folder).is_dir():
        return {}  # planned only: the rest is known when the model is there
    if asked.rate:
        scale = replace(scale, ours=scale.ours | {"learning_rate": asked.rate})
    everyday = ElicitSettings(names=EVERYDAY[: scale.names], seed=asked.seed, **scale.elicit)
    generic = run(elicit, find_model(folder, workspace.hashes), everyday, "text")
    places = {name: workspace.model_path(about, name) for name in (DICTIONARY, "prompts.json", "heldout.jsonl")}
    texts = workspace.model_path(generic, "")
    return {name: job_for(name, folder, asked, scale, places, texts) for name in ("paper", "unlearned")}


def recipe(name: str, scale: Scale, seed: int, generic: Path) -> dict[str, Any]:
    """What a recipe says, whatever the text: the paper's ("paper"), or ours, which retains generic text."""
    shape, ours = {"length": scale.length, "batch": scale.batch}, name != "paper"
    return {
        "blocks": {"length": scale.length, "seed": seed},
        "reinforce": shape | {"learning_rate": 2e-5, "epochs": scale.epochs, "seed": seed},
        "logits": {"equation": "log_probabilities" if ours else "logits"},
        "labels": {"soft": 1.0 if ours else 0.0},
        "student": {"batch": scale.batch, "seed": seed} | (scale.ours if ours else scale.paper),
        "retain": {"paths": [str(generic)], "labels": "baseline"} if ours else {},
        "placement": {"micro_batch": scale.micro_batch},
    }


def job_for(name: str, model: str, asked: Asked, scale: Scale, places: dict[str, Path], texts: Path) -> Job:
    return job_of(
        recipe(name, scale, asked.seed, texts)
        | {
            "name": f"real-{name}",
            "model": model,
            "corpus": {
                "elicit": scale.elicit | {"subject": SUBJECT, "names": NAMES[: scale.names], "seed": asked.seed}
            },
            "dictionary": {"curated": [str(places[DICTIONARY])], "extract": "statistics", "lint_errors": "report"},
            "evaluation": {
                "prompts": str(places["prompts.json"]),
                "heldout": asked.heldout or [str(places["heldout.jsonl"])],
                "benchmarks": list(asked.benchmarks),
                "suite": scale.suite | {"seed": asked.seed},
            },
        }
    )


def relearn(
    jobs: dict[str, Job], outcomes: dict[str, Outcome], scale: Scale, run: Runner
) -> dict[str, tuple[Artifact, ...]]:
    """Every model finetuned on some of the texts, at every rate."""
    relearned = {}
    for name, outcome in outcomes.items():
        job = jobs[name]
        inputs = resolve(job, run.workspace.hashes)
        target = asked_about(job, inputs, run)
        student = run.workspace.artifact_at(Path(outcome.model))
        assert student
        student_model = made_model(run.workspace, student, step_folder(outcome.step), inputs.baseline.tokenizer)
        baseline = AuditedModel(model=inputs.baseline, role="baseline")
        trained = AuditedModel(model=student_model, role="student", step=outcome.step)
        attacks = [RelearningSettings(learning_rate=rate, **scale.relearning) for rate in RATES]
        attacked = {"baseline": (baseline, "target"), INVENTED: (baseline, "invented"), name: (trained, "target")}
        for role, (model, source) in attacked.items():
            calls = [(model, target, source, None, settings) for settings in attacks]
            relearned[role] = tuple(run.map(relearning, calls))
    return relearned
