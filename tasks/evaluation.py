"""evaluation: what one model still shows of the target, and what it is still able to do.

The same prompts, texts and questions for every model of a job, so that models can be compared item by item.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dictionaries.dictionary import Dictionary
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from storage.shards import write_shard
from tasks.corpus import documents_of, find_files, read_texts
from tasks.dictionary import dictionary_of
from tasks.measure.hub_tasks import own_task
from tasks.models import Model, load_model, load_tokenizer
from tasks.stage import Counts, Work, stage

if TYPE_CHECKING:
    from tasks.measure.prompts import Prompt
    from tasks.measure.rows import Measured


class Suite(Settings):
    """What is measured, and how much of it."""

    prompts: int = Field(default=100, ge=1)
    """Prompts cut from the corpus, each before an anchor, where no file of prompts is given."""
    context_characters: int = 400
    """Length of a prompt cut from the corpus."""
    new_tokens: int = 50
    """Tokens of a completion."""
    window: int | None = None
    """Tokens of a perplexity window; by default the model's context."""
    windows: int | None = None
    """Perplexity windows, spread over the held-out text; by default all."""
    questions: int | None = None
    """Questions a benchmark, drawn by seed; by default all."""
    seed: int = 0
    """Draws prompts and questions."""


class EvaluationSettings(Settings):
    """The evidence: where prompts, held-out text and benchmarks lie, and what is done with them."""

    prompts: str | None = None
    """JSON file of prompts [{"prompt": ..., "idiosyncratic": [...]}]; by default they are cut from the corpus."""
    heldout: tuple[str, ...] = ()
    """Generic text that no model was trained on, for perplexity: files or folders as in corpus.paths."""
    benchmarks: tuple[str, ...] = ()
    """lm-eval tasks: folders with task YAML or jsonl files on this disk, or names of lm-eval's own tasks (arc_easy),
    whose questions come from the hub."""
    text_column: str = "text"
    """Column of the held-out text in jsonl and Parquet files."""
    suite: Suite = Suite()
    """What is measured."""


class Evidence(Settings):
    """The files behind an evaluation, known by their bytes."""

    prompts: Files | None
    heldout: Files | None
    benchmarks: Files | None
    tasks: tuple[str, ...] = ()
    """lm-eval's own tasks by name; their questions are whatever the hub has under that name."""
    text_column: str


def find_evidence(settings: EvaluationSettings, hashes: Hashes) -> Evidence:
    """The files that the settings name. Raises BadInput for what is missing or cannot be read as prompts."""
    names = tuple(name for name in settings.benchmarks if is_task_name(name))
    for name in names:
        own_task(name)
    paths = tuple(path for path in settings.benchmarks if path not in names)
    found = Evidence(
        prompts=hashes.files([Path(settings.prompts)]) if settings.prompts else None,
        heldout=find_files(settings.heldout, hashes, "evaluation.heldout") if settings.heldout else None,
        benchmarks=hashes.files(_benchmark_files(paths)) if paths else None,
        tasks=names,
        text_column=settings.text_column,
    )
    return found


def is_task_name(text: str) -> bool:
    """Whether a benchmark is meant by lm-eval's name, and not by a path."""
    return re.fullmatch(r"\w+", text) is not None and not Path(text).exists()


@stage("evaluation", version=2, heavy=True, protected=True)
def evaluation(
    work: Work,
    model: Model,
    role: str,
    step: int | None,
    corpus: Artifact,
    dictionary: Artifact,
    evidence: Evidence,
    suite: Suite,
) -> Counts:
    """Write the `evaluations` and `evaluation_items` shards of one model."""
    return write_measures(work, role, step, _measure(work, model, corpus, dictionary, evidence, suite))


def write_measures(work: Work, role: str, step: int | None, found: Iterable["Measured"]) -> Counts:
    """Write what was measured of one model as shards. Returns its values by metric and task."""
    values: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    for measured in found:
        who = {"model": role, "step": step, "metric": measured.metric, "task": measured.task}
        values.append(who | {"value": measured.value, "stderr": measured.stderr, "items": measured.count})
        for item in measured.items:
            row = {"item": item.item, "prompt": item.prompt, "expected": item.expected}
            row |= {"completion": item.completion, "score": item.score}
            items.append(who | row | {"details": json.dumps(item.details, ensure_ascii=False)})
    write_shard(work.folder / "evaluation_items.parquet", items)
    write_shard(work.folder / "evaluations.parquet", values)
    return {"items": len(items)} | {
        " ".join(filter(None, (row["metric"], row["task"]))): round(row["value"], 6) for row in values
    }


def _measure(
    work: Work, model: Model, corpus: Artifact, dictionary: Artifact, evidence: Evidence, suite: Suite
) -> Iterator["Measured"]:
    from tasks.measure.benchmarks import by_benchmarks, fetch
    from tasks.measure.familiarity import by_completion, by_probability
    from tasks.measure.perplexity import perplexity

    if evidence.tasks:
        fetch(evidence.tasks)
    loaded, tokenizer = load_model(model.path, work.placement.device), load_tokenizer(model.tokenizer)
    words, batch = dictionary_of(work.path(dictionary)), work.placement.micro_batch
    prompts = prompts_of(evidence.prompts, suite, words, documents_of(work.path(corpus)))
    yield by_probability(loaded, tokenizer, prompts, batch_size=batch)
    work.progress(1, 4)
    yield by_completion(loaded, tokenizer, prompts, words, new_tokens=suite.new_tokens, batch_size=batch)
    work.progress(2, 4)
    if evidence.heldout:
        texts = [text for _, text in read_texts(evidence.heldout, evidence.text_column)]
        yield perplexity(loaded, tokenizer, texts, window=suite.window, limit=suite.windows, batch_size=batch)
    work.progress(3, 4)
    if evidence.benchmarks or evidence.tasks:
        files = [Path(path) for path in evidence.benchmarks.paths] if evidence.benchmarks else []
        files = [path for path in files if path.suffix in (".yaml", ".yml")] or files
        amount: dict[str, Any] = {"limit": suite.questions, "seed": suite.seed, "batch_size": batch}
        yield from by_benchmarks(loaded, tokenizer, files, names=evidence.tasks, **amount)


def prompts_of(given: Files | None, suite: Suite, words: Dictionary, documents: list[str]) -> list["Prompt"]:
    """The user's prompts, or prompts cut from the documents."""
    from tasks.measure.prompts import prompts_from_corpus, read_prompts, with_anchors

    if given:
        return with_anchors(read_prompts(Path(given.paths[0])), words)
    characters, seed = suite.context_characters, suite.seed
    return prompts_from_corpus(documents, words, suite.prompts, context_characters=characters, seed=seed)


def _benchmark_files(paths: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise BadInput(f"expected an lm-eval task folder or jsonl file at {path}, found nothing")
        inside = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        found += [file for file in inside if file.suffix in (".yaml", ".yml", ".jsonl", ".json")]
    if not found:
        raise BadInput(f"expected task YAML or jsonl files in {', '.join(paths)}, found none")
    return found
