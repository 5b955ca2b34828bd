"""lm-eval's own tasks by name: their definitions come with lm-eval, their questions from the Hugging Face hub.

Lm-eval's index of all tasks is never built (it reads thousands of files); a task's file
is found by where lm-eval keeps it. Questions that were fetched before are in the hub's cache and need no network.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from storage.errors import BadInput

OWN = {
    "arc_challenge": "arc/arc_challenge.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
}
"""The paper's seven. Any other task goes by the name of its file."""

SPELLINGS = {
    "arc_c": "arc_challenge",
    "arc_e": "arc_easy",
    "hella_swag": "hellaswag",
    "obqa": "openbookqa",
    "open_book_qa": "openbookqa",
    "wino_grande": "winogrande",
    "winogrande_xl": "winogrande",
}
"""How files of their questions are called elsewhere."""


def own_name(name: str) -> str:
    """lm-eval's name for a local file of one of the seven (ARC-Easy -> arc_easy); any other name as it is."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    plain = SPELLINGS.get(plain, plain)
    return plain if plain in OWN else name


def own_task(name: str) -> Path:
    """The file of lm-eval's task. Raises BadInput for a name that lm-eval does not have. Imports no lm-eval."""
    found = importlib.util.find_spec("lm_eval")
    tasks = Path((found.submodule_search_locations or [""])[0]) / "tasks" if found else Path()
    if name in OWN and (tasks / OWN[name]).is_file():
        return tasks / OWN[name]
    files = sorted(tasks.rglob(f"{name}.yaml"))
    if not files:
        raise BadInput(
            "evaluation.benchmarks: expected a file, a folder or the name of one of lm-eval's tasks "
            f"({', '.join(OWN)}, ...), found {name!r}, which is none of them"
        )
    return files[0]


@contextmanager
def reaching(names: Sequence[str]) -> Iterator[None]:
    """BadInput, with what to do, where the questions can be had neither from the hub nor from its cache."""
    try:
        yield
    except ConnectionError as error:
        raise BadInput(
            f"expected to fetch the questions of {', '.join(names)} from the Hugging Face hub, but it cannot be "
            f"reached ({error}): connect this machine (or unset HF_HUB_OFFLINE), fetch them where there is a network "
            "and bring the cache (HF_HOME), or name local files instead, evaluation.benchmarks = "
            f'["{names[0]}.jsonl", ...] with {{"query", "choices", "gold"}} a line'
        ) from error
