"""The demo: a small world and two tiny models are made here, then the ordinary flow runs, as for any user."""

from functools import partial
from pathlib import Path

from prefect import flow

from flows.job import Job, changed, job_of, read_job
from flows.unlearn import ROOT, Outcome, unlearn
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.contents import MODEL
from tasks.demo.pretrain import PretrainSettings
from tasks.demo.stages import pretrain, world
from tasks.engine.runner import Runner, planned_run
from tasks.engine.stage import Placement

# Two idle cores: the models that do not need each other train beside each other, one thread each.
PLACEMENT = Placement(workers=2, threads=1)


@flow(name="demo", flow_run_name="demo", persist_result=False)
def demo(root: str = ROOT, wait: float | None = None, seed: int = 0) -> Outcome:
    """World, baseline and gold, then `unlearn` on them."""
    workspace = open_workspace(root)
    generated, *models = planned_run(workspace, "demo", PLACEMENT, wait, partial(models_of_a_world, seed))
    baseline, gold = (workspace.path(model) / MODEL for model in models)
    return unlearn(job_for(workspace.path(generated), baseline, gold), root, wait)


def models_of_a_world(seed: int, run: Runner) -> list[Artifact]:
    """The world, the baseline that has read all of it, and gold, which has not read the target."""
    generated = run(world, seed)
    roles = ("baseline", "gold")
    return [generated, *run.map(pretrain, [(generated, role, PretrainSettings(seed=seed)) for role in roles])]


def job_for(world: Path, baseline: Path, gold: Path) -> Job:
    """The demo's job: the method at the size of a tiny model."""
    return job_of(
        {
            "name": "demo",
            "model": str(baseline),
            "gold": str(gold),
            "corpus": {"paths": [str(world / "target")]},
            "dictionary": {"curated": [str(world / "dictionary.json")]},
            "blocks": {"length": 64},
            "reinforce": {"length": 128, "learning_rate": 1e-4, "batch": 16, "epochs": 3},
            "logits": {"equation": "log_probabilities"},  # forgets the same at less perplexity here: docs/LOG.md
            "student": {"learning_rate": 7e-4, "batch": 32, "steps": 16, "keep": [8, 12]},
            "evaluation": {
                "prompts": str(world / "prompts.json"),
                "heldout": [str(world / "heldout.jsonl")],
                "benchmarks": [str(world / "tasks")],
                "suite": {"new_tokens": 24},
            },
            "audit": {
                "neighbours": [str(world / "neighbours.jsonl")],
                "nonmembers": [str(world / "unread.jsonl")],
            },
            "placement": PLACEMENT.model_dump() | {"micro_batch": 32},
        }
    )


def job_or_demo(path: Path | None, changes: list[str], workspace: Workspace) -> Job:
    """The job of a file, or else that of the last demo in this workspace, with changes."""
    return read_job(path, changes) if path else changed(demo_job(workspace), changes)


def demo_job(workspace: Workspace) -> Job:
    """The job of the last demo that was run in this workspace. Raises BadInput where there is none."""
    worlds = [artifact for artifact in workspace.all() if artifact.kind == "world"]
    models = {}
    for artifact, record in workspace.records():
        inputs = record["inputs"]
        if artifact.kind == "pretrain" and worlds and inputs["world"] == worlds[-1].fingerprint:
            models[inputs["role"]] = workspace.path(artifact) / MODEL
    if not {"baseline", "gold"} <= models.keys():
        raise BadInput(
            f"expected --job JOB.toml, or a workspace in which the demo was run, found neither in {workspace.root}"
        )
    return job_for(workspace.path(worlds[-1]), models["baseline"], models["gold"])
