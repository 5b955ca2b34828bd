"""evaluation: what one model still shows of the target, and what it is still able to do.

The same prompts, texts and questions for every model of a job, so that models can be compared item by item.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from tasks.contents import dictionary_of, documents_of
from tasks.engine.stage import Context, Counts, Placement, stage
from tasks.measure.hub_tasks import own_task
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import read_prompts
from tasks.measure.questions import read_questions
from tasks.measure.rows import write_measures
from tasks.measure.suite import Suite, prompts_of
from tasks.models import Model, load_model, load_tokenizer
from tasks.texts import find_files, read_texts

if TYPE_CHECKING:
    from tasks.measure.rows import Measured

YAML = (".yaml", ".yml")


class EvaluationSettings(Settings):
    """The evidence: where prompts, held-out text and benchmarks lie, and what is done with them."""

    prompts: str | None = None
    """JSON file of prompts [{"prompt": ..., "idiosyncratic": [...]}]; by default they are cut from the corpus."""
    heldout: tuple[str, ...] = ()
    """Generic text that no model was trained on, for perplexity: files or folders as in corpus.paths. Several are
    several kinds of text, each with a perplexity of its own beside that of all: what costs one kind nothing may cost
    another much."""
    benchmarks: tuple[str, ...] = ()
    """lm-eval tasks: folders with task YAML or jsonl files on this disk, or names of lm-eval's own tasks (arc_easy),
    whose questions come from the hub."""
    text_column: str = "text"
    """Column of the held-out text in jsonl and Parquet files."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Form of the weights and arithmetic of the passes; likelihoods are always float32. auto: bfloat16 on a GPU,
    float32 on the CPU."""
    suite: Suite = Suite()
    """What is measured."""


class EvaluationInputs(Settings):
    """The files behind an evaluation, known by their bytes, and the precision that `auto` came to."""

    prompts: Files | None
    heldout: Files | None
    kinds: dict[str, Files] = Field(default={}, exclude_if=lambda kinds: not kinds)
    """The held-out text of each path by its name, where there are several."""
    benchmarks: Files | None
    tasks: tuple[str, ...] = ()
    """lm-eval's own tasks by name; their questions are whatever the hub has under that name."""
    text_column: str
    precision: str = Field(default="float32", exclude_if=lambda precision: precision == "float32")


def find_evidence(settings: EvaluationSettings, hashes: Hashes, placement: Placement) -> EvaluationInputs:
    """The files that the settings name. Raises BadInput for what is missing or cannot be read as prompts."""
    names = tuple(name for name in settings.benchmarks if is_task_name(name))
    for name in names:
        own_task(name)
    paths = tuple(path for path in settings.benchmarks if path not in names)
    if settings.prompts:
        read_prompts(Path(settings.prompts))
    return EvaluationInputs(
        prompts=hashes.files([Path(settings.prompts)], "evaluation.prompts") if settings.prompts else None,
        heldout=find_files(settings.heldout, hashes, "evaluation.heldout") if settings.heldout else None,
        kinds=_kinds(settings.heldout, hashes),
        benchmarks=hashes.files(_benchmark_files(paths)) if paths else None,
        tasks=names,
        text_column=settings.text_column,
        precision=placement.precision(settings.precision),
    )


def _kinds(paths: tuple[str, ...], hashes: Hashes) -> dict[str, Files]:
    """The files of each path, by its last name where that tells them apart; nothing where there is one alone."""
    if len(paths) < 2:
        return {}
    stems = [Path(path).stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else paths
    return {name: find_files((path,), hashes, "evaluation.heldout") for name, path in zip(names, paths, strict=True)}


def is_task_name(text: str) -> bool:
    """Whether a benchmark is meant by lm-eval's name, and not by a path."""
    return re.fullmatch(r"\w+", text) is not None and not Path(text).exists()


@stage("evaluation", version=3, heavy=True, reads=True, protected=True)
def evaluation(
    context: Context,
    model: Model,
    role: str,
    step: int | None,
    corpus: Artifact,
    dictionary: Artifact,
    evidence: EvaluationInputs,
    suite: Suite,
) -> Counts:
    """Write the `evaluations` and `evaluation_items` shards of one model."""
    return write_measures(context.folder, role, step, _measure(context, model, corpus, dictionary, evidence, suite))


def _measure(
    context: Context, model: Model, corpus: Artifact, dictionary: Artifact, evidence: EvaluationInputs, suite: Suite
) -> Iterator["Measured"]:
    from tasks.measure.benchmarks import by_benchmarks, fetch
    from tasks.measure.familiarity import by_completion, by_probability
    from tasks.measure.perplexity import perplexity

    if evidence.tasks:
        fetch(evidence.tasks)
    weights = load_model(model.path, context.placement.device, evidence.precision)
    loaded = LoadedModel(weights, load_tokenizer(model.tokenizer), context.placement.micro_batch)
    words = dictionary_of(context.path(dictionary))
    prompts = prompts_of(evidence.prompts, suite, words, documents_of(context.path(corpus)))
    yield by_probability(loaded, prompts)
    context.progress(1, 4)
    yield by_completion(loaded, prompts, words, suite.new_tokens)
    context.progress(2, 4)
    for kind, heldout in ({"": evidence.heldout} | evidence.kinds if evidence.heldout else {}).items():
        texts = list(read_texts(heldout, evidence.text_column))
        yield replace(perplexity(loaded, texts, suite.window, suite.windows), task=kind)
    context.progress(3, 4)
    if evidence.benchmarks or evidence.tasks:
        files = task_files([Path(path) for path in evidence.benchmarks.paths]) if evidence.benchmarks else []
        yield from by_benchmarks(loaded, files, names=evidence.tasks, limit=suite.questions, seed=suite.seed)


def task_files(files: list[Path]) -> list[Path]:
    """The files that are tasks: what lies beside or below a task YAML is that task's data."""
    yaml = {path for path in files if path.suffix in YAML}
    beside = {path.parent for path in yaml}
    return [path for path in files if path in yaml or beside.isdisjoint(path.parents)]


def _benchmark_files(paths: tuple[str, ...]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise BadInput(f"expected an lm-eval task folder or jsonl file at {path}, found nothing")
        inside = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        files += [file for file in inside if file.suffix in (*YAML, ".jsonl", ".json")]
    if not files:
        raise BadInput(f"expected task YAML or jsonl files in {', '.join(paths)}, found none")
    for file in task_files(files):
        if file.suffix not in YAML:
            read_questions(file)
    return files
