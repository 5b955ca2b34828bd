"""A real model with a true gold: injected with a world that it cannot know, which the recipes of flows/real.py forget.

    python tests/benchmarks/real_world.py WORKSPACE [--oz] [--model DIRECTORY] [--large] [--seed N] [--rates RATE ...]

The demo's books, or the Wizard of Oz (../shared/material), are trained into the model beside as much generic text: the
baseline. The same model trained on the generic text alone is gold. Recipes are compared at equal ability: a student is
mixed with the baseline until text of another kind costs no more than allowed (UWC, arXiv 2406.09179). Who relearns
takes the rate that serves him best, on a slice of the text, or on text of the same form about others. Every stage is
cached: killed, it goes on. Prints a table for docs/LOG.md; an hour on two cores.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab import at_equal_ability
from oz import BOOK, DICTIONARY, HELDOUT_STORIES, LEARNED_STORIES, lines_of, stories

from flows.cli.outcomes import summary
from flows.inputs import resolve
from flows.job import Job, job_of
from flows.real import LARGE, RATES, SMALL, Scale, recipe
from flows.unlearn import make_target, pipeline
from storage.opening import open_workspace
from tasks.audit.common import AuditedModel, Target
from tasks.audit.relearning import RelearningSettings, relearning
from tasks.contents import LAST, MODEL, evaluation_rows
from tasks.corpus import corpus
from tasks.demo.stages import world
from tasks.engine.console import Progress
from tasks.engine.runner import Direct
from tasks.engine.stage import Placement
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.models import Model, find_model, load_model, load_tokenizer, made_model
from tasks.real.stages import Package, pretrained, subject
from tasks.reinforce import reinforce
from tasks.texts import CorpusFiles, Texts, find_files, read_texts
from tasks.training.settings import ReinforceSettings

INJECTION: dict[str, Any] = {"learning_rate": 1e-4, "epochs": 3.0}
ALLOWED = 1.02  # times the baseline's perplexity
GENERIC_STORIES = 100  # of the demo's world: about as many tokens as its books


@dataclass(frozen=True)
class Book:
    """What is injected, and what stands beside it; places of files."""

    target: Path
    generic: Path
    dictionary: Path
    prompts: str
    """Empty: cut from the text."""
    related: Path
    """Text of the same form about others, read by no model."""


def demo_book(run: Direct, folder: Path) -> Book:
    """The demo's books."""
    made = run.workspace.path(run(world, 0))
    lines = (made / "generic.jsonl").read_text(encoding="utf-8").splitlines()[:GENERIC_STORIES]
    generic = folder / "generic.jsonl"
    generic.write_text("\n".join(lines))
    return Book(
        made / "target", generic, made / "dictionary.json", str(made / "prompts.json"), made / "neighbours.jsonl"
    )


def oz_book(run: Direct, folder: Path) -> Book:
    """The Wizard of Oz, and stories for children."""
    generic, related, words = (folder / name for name in ("stories.jsonl", "others.jsonl", "words.json"))
    generic.write_text(lines_of(stories()[HELDOUT_STORIES:][:LEARNED_STORIES]))
    related.write_text(lines_of(stories()[:HELDOUT_STORIES]))
    words.write_text(json.dumps(DICTIONARY))
    return Book(BOOK, generic, words, "", related)


def trained_on(run: Direct, model: Model, texts: Sequence[Path], scale: Scale, seed: int) -> Model:
    """The model trained on texts, every one of its weights."""
    files = find_files(tuple(map(str, texts)), run.workspace.hashes)
    settings = ReinforceSettings(length=scale.length, batch=scale.batch, seed=seed, **INJECTION)
    injected = run(reinforce, run(corpus, CorpusFiles.of(files), "text"), model, settings)
    return made_model(run.workspace, injected, LAST, model.tokenizer)


def job_for(name: str, book: Book, models: dict[str, Model], heldout: Path, scale: Scale, seed: int) -> Job:
    """The job of a recipe of flows/real.py, with gold beside it."""
    return job_of(
        recipe(name, scale, seed, book.generic)
        | {
            "name": f"world-{name}",
            "model": models["baseline"].path,
            "gold": models["gold"].path,
            "corpus": {"paths": [str(book.target)]},
            "dictionary": {"curated": [str(book.dictionary)], "lint_errors": "report"},
            "evaluation": {"prompts": book.prompts, "heldout": [str(heldout)], "suite": scale.suite | {"prompts": 60}},
        }
    )


def equally_able(run: Direct, job: Job, baseline: Model, student: Model) -> tuple[Model, float]:
    """The most of the student that text of another kind allows, and how much that is."""
    tokenizer, suite = load_tokenizer(baseline.tokenizer), job.evaluation.suite
    texts = list(read_texts(find_files(job.evaluation.heldout, run.workspace.hashes), "text"))

    def cost(model: Any) -> float:
        return perplexity(LoadedModel(model, tokenizer), texts, suite.window, suite.windows).value

    known = load_model(baseline.path)
    mixture, share = at_equal_ability(known, load_model(student.path), cost, ALLOWED * cost(known))
    if share == 1:
        return student, share
    folder = Path(run.workspace.root) / "mixed" / f"{job.name}-{share:g}"
    mixture.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return find_model(folder, run.workspace.hashes), share


@dataclass(frozen=True)
class Attacker:
    """Who finetunes a model on some of the text, at several rates, and keeps what serves him best."""

    run: Direct
    book: Book
    how: dict[str, Any]
    rates: Sequence[float]

    def on(self, model: Model, role: str, job: Job) -> dict[str, list[float]]:
        """Familiarity after each number of steps, at the worst of the rates, by what was trained on."""
        hashes = self.run.workspace.hashes
        inputs = resolve(job, hashes)
        made, suite = make_target(job, inputs, self.run), job.evaluation.suite
        target = Target(corpus=made.corpus, dictionary=made.dictionary, prompts=inputs.evidence.prompts, suite=suite)
        related = Texts(files=find_files((str(self.book.related),), hashes), column="text")
        return {
            source: self._worst(
                partial(self.run, relearning, AuditedModel(model=model, role=role), target), source, texts
            )
            for source, texts in (("target", None), ("related", related))
        }

    def _worst(self, attack: Any, source: str, texts: Texts | None) -> list[float]:
        attacks = [attack(source, texts, RelearningSettings(learning_rate=rate, **self.how)) for rate in self.rates]
        curves = [[row["value"] for row in evaluation_rows(self.run.workspace.path(done))] for done in attacks]
        return [max(values) for values in zip(*curves, strict=True)]


METRICS = ("familiarity_probability", "familiarity_completion", "perplexity")


def line(name: str, values: dict[str, float], back: dict[str, list[float]]) -> str:
    """A row of the table."""
    cells = [f"{values[metric]:.4g}" if metric in values else "" for metric in METRICS]
    curves = [" ".join(f"{value:.3f}" for value in back[source]) for source in ("target", "related")]
    return f"| {' | '.join([name, *cells, *curves])} |"


def main(asked: argparse.Namespace) -> None:
    """Inject, forget by each recipe, attack; print the table."""
    scale = LARGE if asked.large else SMALL
    workspace = open_workspace(asked.root)
    run = Direct(workspace, "real-world", Placement(micro_batch=scale.micro_batch), Progress(60))
    folder = Path(workspace.root) / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    start = asked.model or workspace.path(run(pretrained, Package())) / MODEL
    model = find_model(start, workspace.hashes)
    book = (oz_book if asked.oz else demo_book)(run, folder)
    read = {"baseline": [book.target, book.generic], "gold": [book.generic]}
    models = {role: trained_on(run, model, texts, scale, asked.seed) for role, texts in read.items()}
    heldout = workspace.path(run(subject)) / "heldout.jsonl"
    attacker = Attacker(run, book, scale.relearning | {"seed": asked.seed}, asked.rates)
    steps = " ".join(map(str, scale.relearning["steps"]))
    print(f"| model | probability | completion | perplexity | relearned on the text: {steps} | on others of its form |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in ("paper", "unlearned"):
        job = job_for(name, book, models, heldout, scale, asked.seed)
        outcome = pipeline(job, resolve(job, workspace.hashes), run)
        values = summary(outcome, workspace)
        if name == "paper":
            for role, known in models.items():
                print(line(role, values[role], attacker.on(known, role, job)), flush=True)
        student = find_model(outcome.model, workspace.hashes)
        print(line(name, values["unlearned"], attacker.on(student, "student", job)), flush=True)
        able, share = equally_able(run, job, models["baseline"], student)
        if share < 1:
            print(line(f"{name}, {share:.0%} of it", {}, attacker.on(able, "student", job)), flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("root")
    arguments.add_argument("--oz", action="store_true")
    arguments.add_argument("--model")
    arguments.add_argument("--large", action="store_true")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--rates", type=float, nargs="+", default=RATES)
    main(arguments.parse_args())
