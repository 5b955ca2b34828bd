"""The Wizard of Oz in a real pretrained model: inject the book, then make the model forget it.

    python tests/benchmarks/oz.py WORKSPACE [SECTION.SETTING=VALUE ...]

Needs ../shared/material (stories260K, the book, TinyStories, WinoGrande). Stage zero is the reinforce stage on the book
and as many tokens of stories, at a learning rate that makes a model of 260,000 parameters learn a book: its result is
the baseline. Then `nepenthe unlearn` runs.
"""

import json
import subprocess
import sys
from pathlib import Path

from storage.workspace import Workspace
from tasks.contents import LAST
from tasks.corpus import corpus
from tasks.engine.console import Progress
from tasks.engine.runner import Run
from tasks.engine.stage import Placement
from tasks.models import find_model
from tasks.reinforce import reinforce
from tasks.texts import CorpusFiles, find_files
from tasks.training.settings import ReinforceSettings

MATERIAL = Path(__file__).parents[3] / "shared" / "material"
BOOK = MATERIAL / "books" / "01_wonderful_wizard_of_oz.txt"
HELDOUT_STORIES = 100
LEARNED_STORIES = 300

# Names and places of the book with counterparts of the same kind; written for this measurement.
DICTIONARY = {
    "Dorothy": ["Emma", "Sarah"],
    "Toto": ["Rex", "Spot"],
    "Scarecrow": ["Gardener", "Miller"],
    "Tin Woodman": ["Old Carpenter", "Old Baker"],
    "Woodman": ["Carpenter", "Baker"],
    "Cowardly Lion": ["Sleepy Bear", "Shy Bear"],
    "Lion": ["Bear", "Fox"],
    "Oz": ["Boss", "King"],
    "Emerald City": ["Big Town", "Old Town"],
    "Emerald": ["Copper", "Stone"],
    "Kansas": ["Home", "Texas"],
    "Munchkins": ["Farmers", "Villagers"],
    "Munchkin": ["Farmer", "Villager"],
    "Winkies": ["Sailors", "Bakers"],
    "Winkie": ["Sailor", "Cook"],
    "Quadlings": ["Hunters", "Weavers"],
    "Glinda": ["Mary", "Anna"],
    "Winged Monkeys": ["Black Birds", "Grey Cats"],
    "Monkeys": ["Birds", "Cats"],
    "Witch": ["Lady", "Teacher"],
    "Witches": ["Ladies", "Teachers"],
    "Wizard": ["Doctor", "Captain"],
    "Aunt Em": ["Mom", "Grandma"],
    "Uncle Henry": ["Dad", "Grandpa"],
    "Silver Shoes": ["Red Boots", "Blue Boots"],
    "Golden Cap": ["Green Hat", "Blue Hat"],
    "Kalidahs": ["Wolves", "Dogs"],
    "Hammer-Heads": ["Strangers", "Soldiers"],
}

JOB = """
name = "oz"
model = "{model}"
gold = "{gold}"
corpus.paths = ["{book}"]
dictionary.curated = ["words.json"]
reinforce = {{ learning_rate = 1e-3, batch = 16, epochs = 3 }}
student = {{ learning_rate = 3e-4, batch = 32, steps = 40, keep = [10, 20, 30] }}
evaluation.heldout = ["heldout.jsonl"]
evaluation.benchmarks = ["{winogrande}"]
evaluation.suite = {{ prompts = 100, questions = 200, new_tokens = 40, context_characters = 300, windows = 100 }}
placement = {{ threads = 1, device = "cpu" }}
"""


def stories() -> list[str]:
    """The model's own domain."""
    return [s.strip() for s in (MATERIAL / "corpora" / "tinystories.txt").read_text("utf-8").split("<|endoftext|>")]


def lines_of(texts: list[str]) -> str:
    """JSON lines of {"text"}."""
    return "\n".join(json.dumps({"text": text}) for text in texts)


def inject(workspace: Workspace) -> Path:
    """The pretrained model trained on the book until it knows it."""
    run = Run(workspace, "injected", Placement(threads=1), Progress(2))
    lessons = workspace.root / "lessons.jsonl"
    lessons.write_text(lines_of([BOOK.read_text(encoding="utf-8"), *stories()[HELDOUT_STORIES:][:LEARNED_STORIES]]))
    book = find_files((str(lessons),), workspace.hashes)
    model = find_model(MATERIAL / "models" / "stories260K", workspace.hashes)
    inputs = corpus.inputs(CorpusFiles.of(book), "text")
    texts = corpus.artifact(run.name, inputs)
    run.make(corpus, texts, inputs)
    inputs = reinforce.inputs(texts, model, ReinforceSettings(learning_rate=3e-3, batch=16, epochs=10))
    injected = reinforce.artifact(run.name, inputs)
    run.make(reinforce, injected, inputs)
    return workspace.path(injected) / LAST


def write_job(folder: Path, model: Path) -> Path:
    """The job beside its dictionary and held-out stories, which the injection has not seen."""
    (folder / "heldout.jsonl").write_text(lines_of(stories()[:HELDOUT_STORIES]))
    (folder / "words.json").write_text(json.dumps(DICTIONARY))
    job = folder / "job.toml"
    job.write_text(
        JOB.format(
            model=model,
            gold=MATERIAL / "models" / "stories260K",
            book=BOOK,
            winogrande=MATERIAL / "benchmarks" / "winogrande.jsonl",
        )
    )
    return job


def main(root: str, changes: list[str]) -> None:
    """Inject, unlearn, print the table."""
    workspace = Workspace(root)
    workspace.root.mkdir(parents=True, exist_ok=True)
    job = write_job(workspace.root, inject(workspace))
    settings = [word for change in changes for word in ("--set", change)]
    subprocess.run(["nepenthe", "unlearn", str(job), "--root", root, *settings], check=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
