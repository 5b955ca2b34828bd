"""Recipes within the method, and how each resists relearning: soft labels, text to retain, which layers train, ...

    python tests/benchmarks/recipes.py demo WORKSPACE OUTPUT [PART OF A NAME]     # a workspace as for peers.py
    python tests/benchmarks/recipes.py oz WORKSPACE OUTPUT [PART OF A NAME]

OUTPUT gets recipes.md. What is found worth its while becomes a setting, off by default; docs/LOG.md has the tables.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lab import Course, Lab, demo_lab, nats_of_both, oz_lab, quick, relearned, students, thorough

BASIS = {"demo": (7e-4, 16), "oz": (1e-3, 64)}
"""Learning rate and steps that the recipes count in."""
OTHER_SEED, FASTER = 1, 3.0  # of a second and a third relearning, so that nobody is fitted to the first


@dataclass(frozen=True)
class Recipe:
    """What differs from the paper's."""

    name: str
    rate: float = 1.0
    """Times the basis."""
    steps: float = 1.0
    """Times the basis."""
    soft: bool = False
    retained: int = 0
    """Blocks a step, besides those of the target."""
    target: int = 32
    """Blocks a step."""
    trains: str = ""
    """Only parameters with this in their names."""
    hardening: float = 0.0
    weight_decay: float = 0.0
    schedule: str = "linear"


RECIPES = (
    Recipe("the paper's"),
    Recipe("twice the steps", steps=2),
    Recipe("four times the steps", steps=4),
    Recipe("twice the steps, half the rate", steps=2, rate=0.5),
    Recipe("constant rate", schedule="constant"),
    Recipe("weight decay 0.1", weight_decay=0.1),
    Recipe("layers only, no embeddings, twice the steps", steps=2, trains="layers"),
    Recipe("feed-forward parts only, twice the steps", steps=2, trains="mlp"),
    Recipe("attention only, twice the steps", steps=2, trains="self_attn"),
    Recipe("half retained", target=16, retained=16),
    Recipe("as much retained, twice the steps", retained=32, steps=2),
    Recipe("soft", soft=True),
    Recipe("soft, twice the steps", soft=True, steps=2),
    Recipe("soft, four times the steps", soft=True, steps=4),
    Recipe("soft, twice the steps and rate", soft=True, steps=2, rate=2),
    Recipe("soft, twice the steps, layers only", soft=True, steps=2, trains="layers"),
    Recipe("soft, half retained, twice the steps", soft=True, target=16, retained=16, steps=2),
    Recipe("soft, half retained, twice the steps and rate", soft=True, target=16, retained=16, steps=2, rate=2),
    Recipe("soft, as much retained, twice the steps and rate", soft=True, retained=32, steps=2, rate=2),
    Recipe("hardened", hardening=3),
    Recipe("soft, hardened, twice the rate: durable", soft=True, hardening=3, rate=2),
    Recipe("the same, half retained, twice the steps", soft=True, hardening=3, rate=2, steps=2, target=16, retained=16),
)


def measured(lab: Lab, recipe: Recipe, basis: tuple[float, int]) -> dict[str, Any]:
    """The student that a recipe makes, measured."""
    rate, steps = basis[0] * recipe.rate, round(basis[1] * recipe.steps)
    course = Course(
        rate,
        steps,
        recipe.target,
        recipe.retained,
        schedule=recipe.schedule,
        weight_decay=recipe.weight_decay,
        hardening=recipe.hardening,
        frozen=lambda name: recipe.trains not in name,
    )
    _, model = next(students(lab, lab.soft if recipe.soft else lab.hard, nats_of_both, course, (steps,)))
    return quick(lab, model) | thorough(lab, model) | again(lab, model)


def again(lab: Lab, model: Any) -> dict[str, float]:
    """Familiarity after the last step of relearning other documents, and of relearning faster."""
    rate = FASTER * lab.job.audit.relearning.learning_rate
    return {
        "other": relearned(lab, model, seed=OTHER_SEED)[-1],
        "faster": relearned(lab, model, learning_rate=rate)[-1],
    }


def line(name: str, found: dict[str, Any], base: dict[str, Any]) -> str:
    """A row of the table."""
    rises = [
        f"{100 * (found[key] / base[key] - 1):+.1f} %" if key in base else "" for key in ("perplexity", "neighbours")
    ]
    back = " ".join(f"{value:.3f}" for value in found["relearned"][1:])
    completion, other, faster = (f"{found[key]:.3f}" for key in ("completion", "other", "faster"))
    cells = [name, f"{found['familiarity']:.4f}", completion, *rises, f"{found['accuracy']:.3f}", back, other, faster]
    return f"| {' | '.join(cells)} |"


HEAD = """\
| recipe | familiarity, probability | completion | perplexity | neighbours | multiple choice | \
after 5, 10, 15, 20 relearning steps | other documents | rate x 3 |
|---|---|---|---|---|---|---|---|---|"""


def main(world: str, root: Path, output: Path, wanted: str = "") -> None:
    """Measure, print and write the table."""
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    lab = {"demo": demo_lab, "oz": oz_lab}[world](root)
    with (output / "recipes.md").open("w", encoding="utf-8") as file:

        def write(text: str) -> None:
            print(text, flush=True)
            print(text, file=file, flush=True)

        write(HEAD)
        base: dict[str, Any] = {}
        for name, model in (("baseline", lab.baseline), ("gold", lab.gold)):
            found = quick(lab, model) | thorough(lab, model) | again(lab, model)
            base = base or found
            write(line(name, found, base))
        for recipe in RECIPES:
            if wanted in recipe.name:
                write(line(recipe.name, measured(lab, recipe, BASIS[world]), base))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:5])
