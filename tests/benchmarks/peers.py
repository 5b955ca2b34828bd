"""Other ways of unlearning on the same work: the same baseline, target blocks, budget and grid, and one rule to choose.

    python tests/benchmarks/peers.py demo WORKSPACE OUTPUT     # a workspace where `nepenthe demo` has run
    python tests/benchmarks/peers.py oz WORKSPACE OUTPUT       # a workspace where tests/benchmarks/oz.py has run

Every step sees the same number of tokens: whoever retains text gives half of them to it. What this budget leaves out:
the retained text has to be there, and nepenthe reinforces a model and runs two forward passes before it trains. Of each
method's grid (learning rates by kept steps) the point with the lowest familiarity is chosen whose perplexity has risen
by no more than the world allows. OUTPUT gets peers.jsonl (every point), peers.md (the table), peers.png (the plot).
"""

import copy
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lab import (
    Batch,
    Blocks,
    Course,
    Lab,
    Loss,
    demo_lab,
    logits_of,
    nats,
    nats_of_both,
    own_labels,
    oz_lab,
    quick,
    students,
    thorough,
)

from tasks.contents import NO_LABEL
from tasks.method.loss import moved
from tasks.training.examples import collate

RATES = {"demo": (1e-4, 2e-4, 4e-4, 7e-4, 1.5e-3, 3e-3), "oz": (1e-4, 3e-4, 1e-3, 2e-3, 4e-3)}
STEPS = {"demo": (8, 16, 24, 32), "oz": (16, 32, 64)}
"""Kept steps of a training whose schedule spans the last."""
ALLOWED = {"demo": 2.5, "oz": 25.0}
"""Percent by which perplexity may rise."""
BLOCKS = 32  # a step
LEAST = 1e-6  # familiarity that the plot still tells from less
BETA_NPO, BETA_SIMNPO, MARGIN = 0.1, 2.5, 0.0
RADIUS = 0.01  # of the ball in which SAM looks for the worst weights
DEMOTED = 10.0  # UNDIAL's strength, in nats
LAYER, LENGTH, ALPHA = 7, 5.0, 1200.0  # RMU: layer, length of what it is steered to, weight of retained text


def token_nats(model: Any, batch: Batch) -> torch.Tensor:
    """-log p of each label (R, T), 0 where there is none."""
    rows_RVT = logits_of(model, batch)[:, :-1].transpose(1, 2)
    return F.cross_entropy(rows_RVT, batch["labels"][:, 1:], ignore_index=NO_LABEL, reduction="none")


def states(model: Any, batch: Batch) -> torch.Tensor:
    """What the steered layer puts out where there is a token (N, width), in float32."""
    with torch.autocast("cpu", torch.bfloat16):
        states_RTH = model(batch["input_ids"], use_cache=False, output_hidden_states=True).hidden_states[LAYER + 1]
    here: torch.Tensor = states_RTH[batch["labels"] != NO_LABEL].float()
    return here


class Peers:
    """Losses of a student on blocks x of the target and r of retained text, with the baseline as reference.

    nats is the mean cross-entropy of a token with the text's own next tokens; log p(x) of a block sums over its tokens.
    """

    def __init__(self, reference: Any, translations: Mapping[tuple[int, ...], Sequence[int]] | None = None) -> None:
        """`translations`: of blocks of the target, by their labels; only AltPO asks for them."""
        self._reference, self._translations = copy.deepcopy(reference).eval(), translations or {}

    def ascent(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """-nats(x): gradient ascent (Jang et al. 2023, arXiv 2210.01504)."""
        return -nats(student, x)

    def difference(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """-nats(x) + nats(r): gradient difference (Liu et al. 2022, arXiv 2203.12817)."""
        return nats(student, r) - nats(student, x)

    def npo(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """-2/beta mean_x log sigmoid(-beta (log p(x) - log p_reference(x))): NPO.

        Zhang et al. 2024, arXiv 2404.05868.
        """
        return -2 / BETA_NPO * F.logsigmoid(-BETA_NPO * self._ratio(student, x)).mean()

    def _ratio(self, student: Any, x: Batch) -> torch.Tensor:
        """log p(x) - log p_reference(x) of every block (R)."""
        with torch.no_grad():
            known_R = token_nats(self._reference, x).sum(1)
        return known_R - token_nats(student, x).sum(1)

    def npo_retain(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """NPO + nats(r)."""
        return self.npo(student, x, r) + nats(student, r)

    def npo_sam_retain(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """NPO at the weights in a ball that are worst for it, + nats(r): NPO with SAM. Of the first term the gradient
        alone counts.

        Fan et al. 2025, arXiv 2502.05374.
        """
        weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
        steepest = torch.autograd.grad(self.npo(student, x, r), weights)
        scale = RADIUS / torch.nn.utils.get_total_norm(steepest)
        with moved([(weight, scale * slope) for weight, slope in zip(weights, steepest, strict=True)]):
            worst = torch.autograd.grad(self.npo(student, x, r), weights)
        forgets = torch.stack([(weight * slope).sum() for weight, slope in zip(weights, worst, strict=True)])
        return forgets.sum() + nats(student, r)

    def altpo_retain(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """-2/beta mean_x log sigmoid(beta (log-ratio of the translation - log-ratio of x)) + nats(r): AltPO.

        Mekala et al. 2024, arXiv 2409.13474, who let the model write the alternatives.
        """
        read = [tuple(labels[labels != NO_LABEL].tolist()) for labels in x["labels"]]
        y = collate([own_labels(self._translations[labels]) for labels in read])
        preferred_R = self._ratio(student, y) - self._ratio(student, x)
        return -2 / BETA_NPO * F.logsigmoid(BETA_NPO * preferred_R).mean() + nats(student, r)

    def simnpo_retain(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """-2/beta mean_x log sigmoid(-beta log p(x) / |x| - margin) + nats(r): SimNPO.

        Fan et al. 2024, arXiv 2410.07163.
        """
        length_R = (x["labels"] != NO_LABEL).sum(1)
        nats_R = token_nats(student, x).sum(1) / length_R
        return -2 / BETA_SIMNPO * F.logsigmoid(BETA_SIMNPO * nats_R - MARGIN).mean() + nats(student, r)

    def undial_retain(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """Cross-entropy with what the baseline would say were the text's own token less likely, + nats(r): UNDIAL.

        Dong et al. 2024, arXiv 2402.10052.
        """
        labels_RT = x["labels"][:, 1:]
        with torch.no_grad():
            rows_RTV = logits_of(self._reference, x)[:, :-1]
            own_RT1 = labels_RT.clamp(min=0)[..., None]
            wanted_RTV = rows_RTV.scatter_add(-1, own_RT1, torch.full_like(rows_RTV[..., :1], -DEMOTED)).softmax(-1)
        nats_RT = -(wanted_RTV * logits_of(student, x)[:, :-1].log_softmax(-1)).sum(-1)
        return nats_RT[labels_RT != NO_LABEL].mean() + nats(student, r)

    def rmu(self, student: Any, x: Batch, r: Batch) -> torch.Tensor:
        """States of a layer steered to a random direction, five times as long as the baseline's, + 1,200 times what
        they are off on retained text: RMU, with the length of adaptive RMU.

        Li et al. 2024, arXiv 2403.03218; Dang et al. 2024, arXiv 2408.06223.
        """
        with torch.no_grad():
            known_x, known_r = (states(self._reference, batch) for batch in (x, r))
            direction = torch.rand(known_x.shape[-1], generator=torch.Generator().manual_seed(0))
            wanted = LENGTH * known_x.norm(dim=-1, keepdim=True) * direction / direction.norm()
        return F.mse_loss(states(student, x), wanted) + ALPHA * F.mse_loss(states(student, r), known_r)


@dataclass(frozen=True)
class Method:
    """A loss, the blocks of the target that it reads, and whether it also reads text to retain."""

    name: str
    loss: Loss
    blocks: Blocks
    retains: bool


def methods(lab: Lab) -> list[Method]:
    """All that are compared. Nepenthe's loss is the cross-entropy with its labels (METHOD.md 2)."""
    peers = Peers(lab.baseline)
    return [
        Method("nepenthe", nats_of_both, lab.hard, False),
        Method("nepenthe, with retain text", nats_of_both, lab.hard, True),
        Method("nepenthe, soft labels", nats_of_both, lab.soft, False),
        Method("nepenthe, soft labels, with retain text", nats_of_both, lab.soft, True),
        Method("gradient ascent", peers.ascent, lab.target, False),
        Method("gradient difference", peers.difference, lab.target, True),
        Method("NPO", peers.npo, lab.target, False),
        Method("NPO, with retain text", peers.npo_retain, lab.target, True),
        Method("SimNPO, with retain text", peers.simnpo_retain, lab.target, True),
    ]


@dataclass(frozen=True)
class Grid:
    """What is tried, and what perplexity may rise to."""

    rates: tuple[float, ...]
    steps: tuple[int, ...]
    limit: float


def kept(lab: Lab, method: Method, grid: Grid, rate: float) -> Iterator[tuple[int, Any]]:
    """(step, student) at every kept step. Half of a step's blocks go to the text to retain, if any."""
    retained = BLOCKS // 2 if method.retains else 0
    course = Course(rate, grid.steps[-1], BLOCKS - retained, retained)
    return students(lab, method.blocks, method.loss, course, grid.steps)


def points(lab: Lab, method: Method, grid: Grid) -> Iterator[dict[str, Any]]:
    """Every point of the grid, measured."""
    for rate in grid.rates:
        for steps, model in kept(lab, method, grid, rate):
            yield {"method": method.name, "rate": rate, "steps": steps} | quick(lab, model)


def chosen(found: list[dict[str, Any]], limit: float) -> dict[str, Any] | None:
    """The lowest familiarity among the points with perplexity within the limit."""
    return min((p for p in found if p["perplexity"] <= limit), key=lambda p: p["familiarity"], default=None)


def compare(lab: Lab, grid: Grid, output: Path) -> list[dict[str, Any]]:
    """Measure all, write every point; returns the rows of the table."""
    rows = [{"method": name} | quick(lab, m) | thorough(lab, m) for name, m in named_models(lab)]
    with (output / "peers.jsonl").open("w") as file:
        for method in methods(lab):
            found = []
            for point in points(lab, method, grid):
                found.append(point)
                print(json.dumps(point), file=file, flush=True)
            best = chosen(found, grid.limit)
            rows.append({"method": method.name} if best is None else best | again(lab, method, grid, best))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def named_models(lab: Lab) -> list[tuple[str, Any]]:
    """What there is without training."""
    return [("baseline", lab.baseline), ("gold", lab.gold)]


def again(lab: Lab, method: Method, grid: Grid, best: dict[str, Any]) -> dict[str, Any]:
    """The chosen student once more, measured thoroughly."""
    return next(
        thorough(lab, model) for steps, model in kept(lab, method, grid, best["rate"]) if steps == best["steps"]
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The chosen points in Markdown."""
    base = rows[0]
    lines = [
        "| method | learning rate, step | familiarity, probability | completion | perplexity | neighbours | "
        "multiple choice | gold's perplexity of completions | familiarity after 5, 10, 15, 20 relearning steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "familiarity" not in row:
            lines.append(f"| {row['method']} | none within the limit | | | | | | | |")
            continue
        how = f"{row['rate']:g}, {row['steps']}" if "rate" in row else ""
        near = f"{_percent(row['neighbours'], base['neighbours'])}" if "neighbours" in row else ""
        back = " ".join(f"{value:.3f}" for value in row["relearned"][1:])
        lines.append(
            f"| {row['method']} | {how} | {row['familiarity']:.4f} | {row['completion']:.3f} | "
            f"{_percent(row['perplexity'], base['perplexity'])} | {near} | {row['accuracy']:.3f} | "
            f"{row['sense']:.2f} | {back} |"
        )
    return "\n".join(lines) + "\n"


def _percent(value: float, base: float) -> str:
    return f"{value:.3f} ({100 * (value / base - 1):+.1f} %)"


def draw(found: list[dict[str, Any]], rows: list[dict[str, Any]], grid: Grid, path: Path) -> None:
    """Familiarity against perplexity: every point faint, each method's best trade as a line, its choice marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(11, 5.5), layout="constrained")
    base, allowed = rows[0]["perplexity"], 100 * (grid.limit / rows[0]["perplexity"] - 1)
    for number, name in enumerate(dict.fromkeys(point["method"] for point in found)):
        mine = [point for point in found if point["method"] == name]
        best = [row for row in rows if row["method"] == name and "familiarity" in row]
        axes.scatter(*_places(mine, base), s=12, alpha=0.35, color=f"C{number}")
        axes.plot(*_places(frontier(mine), base), drawstyle="steps-post", color=f"C{number}", label=name)
        axes.scatter(*_places(best, base), s=70, marker="D", edgecolor="black", color=f"C{number}", zorder=3)
    for row, marker in zip(rows[:2], ("s", "*"), strict=True):
        axes.scatter(*_places([row], base), marker=marker, s=110, color="black", label=row["method"], zorder=4)
    axes.axvline(allowed, linestyle=":", color="grey")
    least = min(-0.5 * allowed, 1.2 * min(_places(rows[:2], base)[0]))
    axes.set_xscale("symlog", linthresh=allowed)
    axes.set_xticks([0, allowed, 10 * allowed, 100 * allowed], ["0", *(f"{k * allowed:g}" for k in (1, 10, 100))])
    axes.set(
        xlabel="perplexity of held-out text, percent above the baseline's", ylabel="familiarity by probability",
        yscale="log", xlim=(least, 300 * allowed), ylim=(LEAST / 2, 2),
        title="Left and low is better. Lines: the least familiarity at each cost; diamonds: chosen",
    )  # fmt: skip
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=130)


def _places(points: list[dict[str, Any]], base: float) -> tuple[list[float], list[float]]:
    """Where they are drawn: percent of perplexity, familiarity."""
    rises = [100 * (point["perplexity"] / base - 1) for point in points]
    return rises, [max(point["familiarity"], LEAST) for point in points]


def frontier(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points that no cheaper one betters."""
    best: list[dict[str, Any]] = []
    for point in sorted(found, key=lambda p: (p["perplexity"], p["familiarity"])):
        if not best or point["familiarity"] < best[-1]["familiarity"]:
            best.append(point)
    return best


def main(world: str, root: Path, output: Path) -> None:
    """Compare, write, print the table."""
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    lab = {"demo": demo_lab, "oz": oz_lab}[world](root)
    limit = quick(lab, lab.baseline)["perplexity"] * (1 + ALLOWED[world] / 100)
    grid = Grid(RATES[world], STEPS[world], limit)
    rows = compare(lab, grid, output)
    (output / "chosen.json").write_text(json.dumps(rows, indent=1))
    (output / "peers.md").write_text(table(rows))
    found = [json.loads(line) for line in (output / "peers.jsonl").open()]
    draw(found, rows, grid, output / "peers.png")
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
