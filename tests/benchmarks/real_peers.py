"""Other ways of unlearning on a real model that forgets Harry Potter, compared at equal ability.

    python tests/benchmarks/real_peers.py WORKSPACE OUTPUT [--model MODEL] [--seed N] [--rates RATE ...]

WORKSPACE is one where `nepenthe real` has run: its texts and students are taken from there. Every method reads the same
blocks, half of each batch retained text, and takes as many steps as ours comes to with its labels, reinforcement and
hardening. Each student is mixed with the baseline until text of another kind costs no more than allowed (UWC,
arXiv 2406.09179), and then relearns at the rate that served attackers best: the one number is how much of what the
baseline comes to then is back. OUTPUT gets peers.jsonl, a line a student (what is there is not made again), and
peers.png. Prints a table for docs/LOG.md; some minutes a student on two cores.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab import Course, Lab, Loss, at_equal_ability, cost, own_labels, quick, read_blocks, relearned, students
from peers import Peers

from flows.inputs import resolve
from flows.real import SMALL, Asked, prepare
from flows.unlearn import beside_labels, make_labels, make_target, pipeline
from storage.opening import open_workspace
from tasks.contents import RETAINED, TRAINING, blocks_of, dictionary_of, documents_of
from tasks.engine.console import Progress
from tasks.engine.runner import Direct, Plan
from tasks.engine.stage import Placement
from tasks.measure.familiarity import by_completion
from tasks.measure.loaded import LoadedModel
from tasks.measure.suite import prompts_of
from tasks.models import load_model, load_tokenizer
from tasks.texts import read_texts

ALLOWED = 1.03  # times the baseline's perplexity
STEPS = 64  # ours: 24 at two places, 8 of reinforcement, and forward passes over all blocks that come to 8
RATES = (5e-5, 2e-4)
ATTACK = {"learning_rate": 5e-5} | SMALL.relearning
STEERED = range(5, 8)  # layers that RMU changes; it steers the last. Its authors' choice for 32 layers


@dataclass(frozen=True)
class Method:
    """A loss on blocks of the target and retained ones, and the parameters that it changes."""

    name: str
    loss: Loss
    changes: str = ""
    """What their names hold, one of these between commas; empty: all."""

    def frozen(self, parameter: str) -> bool:
        return not any(part in parameter for part in self.changes.split(","))


def methods(lab: Lab) -> list[Method]:
    peers = Peers(lab.baseline, lab.translations)
    return [
        Method("gradient difference", peers.difference),
        Method("NPO", peers.npo_retain),
        Method("NPO with SAM", peers.npo_sam_retain),
        Method("SimNPO", peers.simnpo_retain),
        Method("AltPO", peers.altpo_retain),
        Method("UNDIAL", peers.undial_retain),
        Method("RMU", peers.rmu, ",".join(f"layers.{layer}.mlp.down_proj" for layer in STEERED)),
    ]


def real_lab(root: str, asked: Asked) -> tuple[Lab, dict[str, str]]:
    """The experiment's models and texts in memory, and the directory of each recipe's student."""
    workspace = open_workspace(root)
    run = Direct(workspace, "real", Placement(micro_batch=SMALL.micro_batch), Progress(99))
    jobs = prepare(asked, SMALL, run)
    inputs = {name: resolve(job, workspace.hashes) for name, job in jobs.items()}
    made = {name: pipeline(job, inputs[name], Plan(workspace, name)).model for name, job in jobs.items()}
    job, ours = jobs["unlearned"], inputs["unlearned"]
    target = make_target(job, ours, run)
    lessons = make_labels(job, ours, target, run)
    plain = job.model_copy(update={"retain": job.retain.model_copy(update={"labels": "text"})})
    generic = workspace.path(beside_labels(plain, ours, target, run)["retained"]) / RETAINED
    documents, words = documents_of(workspace.path(target.corpus)), dictionary_of(workspace.path(target.dictionary))
    assert ours.evidence.heldout
    lab = Lab(
        job=job,
        baseline=load_model(ours.baseline.path),
        reinforced=None,
        gold=None,
        tokenizer=load_tokenizer(ours.baseline.tokenizer),
        words=words,
        documents=documents,
        target=[own_labels(block["input_ids"]) for block in read_blocks(workspace.path(lessons.labels) / TRAINING)],
        translations={
            tuple(row["original_ids"][1:]): row["translated_ids"]
            for row in blocks_of(workspace.path(lessons.blocks)).select(["original_ids", "translated_ids"]).to_pylist()
        },
        hard=[],
        soft=[],
        generic=read_blocks(generic),
        prompts=prompts_of(ours.evidence.prompts, job.evaluation.suite, words, documents),
        heldout=list(read_texts(ours.evidence.heldout, ours.evidence.text_column)),
        neighbours=[],
        benchmarks=[],
    )
    return lab, made


def measured(lab: Lab, model: Any) -> dict[str, Any]:
    """Familiarity before and after relearning, perplexity."""
    said = by_completion(
        LoadedModel(model, lab.tokenizer, 8), lab.prompts, lab.words, lab.job.evaluation.suite.new_tokens
    )
    return quick(lab, model) | {"completion": said.value, "relearned": relearned(lab, model, **ATTACK)}


def student(lab: Lab, method: Method, rate: float, seed: int) -> Any:
    """The last step's, of a training with half of each batch retained."""
    half = SMALL.batch // 2
    course = Course(rate, STEPS, half, half, seed=seed, frozen=method.frozen)
    ((_, trained),) = students(lab, lab.target, method.loss, course, [STEPS])
    return trained.eval()


def points(lab: Lab, ours: dict[str, str], rates: Sequence[float], seed: int) -> Iterator[tuple[str, float, Any]]:
    """Name, rate and how the model is had, of all that are compared."""
    yield "baseline", 0.0, lambda: lab.baseline
    for name, folder in ours.items():
        yield name, 0.0, partial(load_model, folder)
    for rate in rates:
        for method in methods(lab):
            yield method.name, rate, partial(student, lab, method, rate, seed)


def main(asked: argparse.Namespace) -> None:
    """Measure what the experiment left, then every method at every rate; print the table."""
    lab, ours = real_lab(asked.root, Asked(model=asked.model, seed=asked.seed))
    base = quick(lab, lab.baseline)["perplexity"]
    asked.output.mkdir(parents=True, exist_ok=True)
    file = asked.output / "peers.jsonl"
    rows = [json.loads(line) for line in file.open()] if file.exists() else []
    known = {(row["method"], row["rate"]) for row in rows}
    for name, rate, make in points(lab, ours, asked.rates, asked.seed):
        if (name, rate) not in known:
            rows.append({"method": name, "rate": rate} | compared(lab, make(), ALLOWED * base))
            with file.open("a") as lines:
                print(json.dumps(rows[-1]), file=lines)
            print(line(rows[-1], rows[0]), flush=True)
    print("\n".join([HEAD, *(line(row, rows[0]) for row in rows)]))
    draw(rows, asked.output / "peers.png")


def compared(lab: Lab, model: Any, limit: float) -> dict[str, Any]:
    """What the model shows as it is, and measured at equal ability."""
    whole = quick(lab, model)
    mixture, share = at_equal_ability(lab.baseline, model, partial(cost, lab), limit)
    return {"whole": whole, "share": share} | measured(lab, mixture)


HEAD = (
    "| method | rate | probability | perplexity | share | probability | completion | perplexity | relearned | back |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def line(row: dict[str, Any], baseline: dict[str, Any]) -> str:
    """A row of the table: the model as it is, then mixed with the baseline."""
    whole, curve = row["whole"], " ".join(f"{value:.3f}" for value in row["relearned"][1:])
    base = baseline["perplexity"]
    cells = [
        row["method"],
        f"{row['rate']:g}" if row["rate"] else "",
        f"{whole['familiarity']:.4f}",
        f"{whole['perplexity'] / base - 1:+.1%}",
        f"{row['share']:.0%}",
        f"{row['familiarity']:.4f}",
        f"{row['completion']:.3f}",
        f"{row['perplexity'] / base - 1:+.1%}",
        curve,
        f"{back(row) / back(baseline):.0%}",
    ]
    return f"| {' | '.join(cells)} |"


def back(row: dict[str, Any]) -> float:
    """Familiarity after the last relearning step."""
    return float(row["relearned"][-1])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Familiarity by relearning steps, of each method at the rate at which least comes back."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=back):
        best.setdefault(row["method"], row)
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for row in reversed(best.values()):
        axes.plot(SMALL.relearning["steps"], row["relearned"], label=f"{row['method']} {back(row) / back(rows[0]):.0%}")
    axes.set(xlabel="relearning steps", ylabel="familiarity by probability", ylim=(0, None))
    figure.legend(loc="outside right upper", title="back, of the baseline's")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("root")
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--model", default="")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--rates", type=float, nargs="+", default=RATES)
    main(arguments.parse_args())
