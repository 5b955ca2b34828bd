"""Every address of every stage, written down once: a workspace of an earlier release is found cached.

The files and models of the jobs are known by made-up fingerprints, so that nothing depends on this machine. A line of
golden.json changes only with the version of a stage, on purpose: `python tests/flows/test_golden_fingerprints.py`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from flows import ablation, audit
from flows.demo import job_for, models_of_a_world
from flows.inputs import Inputs
from flows.job import Job, job_of
from flows.unlearn import pipeline
from storage.files import Files
from storage.workspace import Workspace
from tasks.audit.common import AuditedModel, AuditTexts
from tasks.dictionary_inputs import DictionaryInputs
from tasks.engine.runner import Plan
from tasks.evaluation import EvaluationInputs
from tasks.models import Model
from tasks.texts import CorpusFiles, Texts

GOLDEN = Path(__file__).with_name("golden.json")

EVERY_OPTION: dict[str, Any] = {
    "name": "every-option",
    "preset": "durable",
    "model": "baseline",
    "gold": "gold",
    "corpus": {"paths": ["corpus"], "text_column": "body"},
    "dictionary": {
        "curated": ["words.json"],
        "extract": "both",
        "reference": ["reference"],
        "text_column": "body",
        "everyday": "everyday.txt",
        "statistics": {"min_count": 2, "max_anchors": 100},
        "llm": {"model": "a-model", "characters": 2000, "passages": 20, "temperature": "default", "seed": 3},
        "endpoint": {"base_url": "http://localhost:1/v1"},
        "seed": 5,
        "lint_errors": "report",
        "review": True,
    },
    "blocks": {"length": 256, "seed": 7},
    "reinforce": {"learning_rate": 2e-6, "epochs": 2.0, "length": 256, "batch": 64, "schedule": "cosine"},
    "logits": {"top": 32, "equation": "log_probabilities", "precision": "bfloat16", "shard_blocks": 16},
    "labels": {"alpha": 3.0, "soft": 0.5},
    "student": {"steps": 60, "keep": [20, 40], "weights": "bfloat16", "retain": 0.25, "warmup_steps": 3},
    "retain": {"paths": ["retain"], "text_column": "body"},
    "evaluation": {
        "prompts": "prompts.json",
        "heldout": ["heldout"],
        "benchmarks": ["tasks"],
        "text_column": "body",
        "suite": {"prompts": 30, "new_tokens": 20, "window": 128, "windows": 10, "questions": 50, "seed": 11},
    },
    "judge": {"model": "a-judge", "subject": "a book", "temperature": 0.5},
    "stop": {"familiarity": 0.01, "above_gold": 0.01, "accuracy_points": 2, "perplexity_percent": 5, "early": True},
    "audit": {
        "neighbours": ["near"],
        "nonmembers": ["unread"],
        "min_k": 0.3,
        "instruction": "You know nothing of {target}.",
        "relearning": {"steps": [0, 5], "learning_rate": 3e-4},
        "quantisation": {"bits": [4], "group": 32},
    },
}


def files(name: str) -> Files:
    """User files of that name."""
    return Files((f"/{name}",), f"files of {name}")


def model(name: str) -> Model:
    """A user's model of that name."""
    return Model(f"/{name}", f"model {name}", Files((f"/{name}/tokenizer.json",), "a tokenizer"))


def inputs_of(job: Job) -> Inputs:
    """What the job names, as if it had been found."""
    evaluation, counts = job.evaluation, job.dictionary.counts
    words = DictionaryInputs(
        curated=files("curated") if job.dictionary.curated else Files((), "none"),
        statistics=job.dictionary.statistics if counts else None,
        reference=files("reference") if counts and job.dictionary.reference else None,
        text_column=job.dictionary.text_column,
        everyday=files("everyday") if job.dictionary.everyday else None,
        tokenizer=model("baseline").tokenizer,
        seed=job.dictionary.seed,
        lint_errors=job.dictionary.lint_errors,
    )
    evidence = EvaluationInputs(
        prompts=files("prompts") if evaluation.prompts else None,
        heldout=files("heldout") if evaluation.heldout else None,
        benchmarks=files("benchmarks") if evaluation.benchmarks else None,
        text_column=evaluation.text_column,
    )
    return Inputs(
        baseline=model("baseline"),
        gold=model("gold") if job.gold else None,
        reinforced=model("reinforced") if job.reinforced else None,
        corpus=CorpusFiles.of(files("corpus")),
        dictionary=words,
        retain=files("retain") if job.retain.paths else None,
        evidence=evidence,
    )


def controls_of(job: Job) -> AuditTexts:
    """All texts that an audit can want."""
    texts = {name: Texts(files=files(name), column="text") for name in ("neighbours", "nonmembers", "heldout")}
    return AuditTexts(**texts)


def jobs() -> dict[str, Job]:
    """The jobs whose addresses are written down."""
    world = Path("/world")
    plain = {"model": "baseline", "corpus": {"paths": ["c"]}, "dictionary": {"curated": ["w.json"]}}
    own = plain | {"name": "own", "reinforced": "reinforced"}
    return {
        "demo": job_for(world, Path("/baseline"), Path("/gold")),
        "every option": job_of(EVERY_OPTION),
        "defaults": job_of(plain),
        "own reinforced model": job_of(own),
    }


def addresses(workspace: Workspace) -> dict[str, list[str]]:
    """The address of every artifact, in the order of the path, by job and flow."""
    found: dict[str, Plan] = {}
    found["models of the demo"] = Plan(workspace, "demo")
    models_of_a_world(3, found["models of the demo"])
    for name, job in jobs().items():
        given = inputs_of(job)
        found[name] = Plan(workspace, job.name)
        pipeline(job, given, found[name])
        found[f"ablation of {name}"] = Plan(workspace, job.name)
        ablation.pipeline(job, given, found[f"ablation of {name}"])
        found[f"audit of {name}"] = Plan(workspace, job.name)
        suspects = [AuditedModel(model=model("student"), role="student", step=20)]
        suspects += [AuditedModel(model=model("baseline"), role="baseline")]
        audit.pipeline(job, given, controls_of(job), suspects, found[f"audit of {name}"])
    return {name: [step.artifact.folder for step in plan.steps] for name, plan in found.items()}


def test_every_address_is_the_one_that_was_written_down(tmp_path: Path) -> None:
    written = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert addresses(Workspace(tmp_path)) == written


def test_the_golden_jobs_take_every_stage() -> None:
    written = json.loads(GOLDEN.read_text(encoding="utf-8"))
    kinds = {folder.partition("/")[0] for folders in written.values() for folder in folders}
    stages = {"corpus", "answers", "dictionary", "review", "blocks", "reinforce", "retained", "logits", "labels"}
    stages |= {"student", "evaluation", "judgement", "choice", "report", "ablation", "world", "pretrain", "audit"}
    attacks = {"verbatim", "extraction", "questions", "membership", "relearning", "quantisation", "side-effects"}
    assert kinds == stages | attacks | {"instruction", "translations", "prefilled"}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        GOLDEN.write_text(json.dumps(addresses(Workspace(root)), indent=1) + "\n", encoding="utf-8")
