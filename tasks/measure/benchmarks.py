"""General ability: multiple-choice and other tasks from local files, run by lm-eval on a model in memory.

lm-eval's convenience entry (`simple_evaluate`) reseeds every generator of the process and asks git and pip
about the machine; `evaluate` below it does neither. Nothing is downloaded, no default task is scanned.
"""

import copy
import logging
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers.processors import TemplateProcessing
from tqdm import tqdm

from storage.errors import BadInput
from tasks.measure.hub_tasks import own_name, own_task, reaching
from tasks.measure.loaded import LoadedModel
from tasks.measure.questions import read_questions
from tasks.measure.rows import Item, Measured, mean_of
from tasks.measure.scoring import context_length, likelihood, measuring, token_statistics


def by_benchmarks(
    loaded: LoadedModel, paths: Sequence[Path], *, names: Sequence[str] = (), limit: int | None = None, seed: int = 0
) -> list[Measured]:
    """Accuracy per task. A path is a jsonl file or a task YAML.

    `names` are lm-eval's own tasks, whose questions come from the hub.

    jsonl rows: {"query", "choices", "gold"}, or {"context_options", "continuation", "gold"} where the choice
    is the context. `limit` draws that many questions per task, the same for every model.
    """
    with tempfile.TemporaryDirectory() as cache, _undisturbed(), measuring(loaded.model):
        configs = [config for path in paths for config in _task_configs(path, cache)]
        with reaching(names):
            tasks = _load(configs, names)
        chosen = {
            name: sorted(random.Random(f"{seed} {name}").sample(range(size), limit))
            for name, task in tasks.items()
            if limit is not None and limit < (size := len(task.eval_docs))
        }
        lm = _wrapped(loaded)
        results = evaluate(lm, {"tasks": tasks}, samples=chosen, bootstrap_iters=0)
        return [_measured(task, results["samples"][name]) for name, task in tasks.items()]


def fetch(names: Sequence[str]) -> None:
    """Have the questions of lm-eval's tasks at hand before a model is loaded. Raises BadInput without hub or cache."""
    with _undisturbed(), reaching(names):
        _load([], names)


class _ChunkedLM(HFLM):
    """lm-eval's model, whose likelihoods are made as ours are: lm-eval's own holds batch x length x V logits, twice."""

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """(log-probability of the continuation, whether greedy decoding says it) of (texts, context, continuation).

        What is longer than the model's context loses its beginning; the last token is never read.
        """
        del disable_tqdm, override_bs
        sequences = [(context + ending)[-(self.max_length + 1) :] for _, context, ending in requests]
        firsts = [len(ids) - len(ending) for ids, (_, _, ending) in zip(sequences, requests, strict=True)]
        loaded = LoadedModel(self.model, self.tokenizer, int(self.batch_size))
        scored = token_statistics(loaded, sequences, firsts, likelihood)
        return [(float(log_T.sum()), bool(highest_T.all())) for log_T, highest_T in (row_T2.T for row_T2 in scored)]


def _wrapped(loaded: LoadedModel) -> HFLM:
    own = copy.deepcopy(loaded.tokenizer)  # lm-eval gives a tokenizer without padding token one
    own.model_max_length = sys.maxsize  # lm-eval cuts long questions itself, on the left; no warning is due
    if own.bos_token_id is None and own.eos_token_id is None:
        raise BadInput(
            "benchmarks: expected a tokenizer with a bos_token or an eos_token, found neither: "
            "tokenizer_config.json names them"
        )
    ids = own("a").input_ids
    if ids[-1] == own.eos_token_id:
        # lm-eval finds the answer by counting the question's tokens, which an EOS behind the question shifts.
        bos = [(own.bos_token, own.bos_token_id)] if ids[0] == own.bos_token_id else []
        template = " ".join([name for name, _ in bos] + ["$A"])
        own.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=bos)
    return _ChunkedLM(
        pretrained=loaded.model,
        tokenizer=own,
        batch_size=loaded.batch_size,
        softmax_dtype=torch.float32,
        max_length=context_length(loaded.model),
    )


def _load(configs: list[dict[str, Any]], own: Sequence[str]) -> dict[str, Any]:
    """The tasks of these configurations, and lm-eval's own of these names."""
    configs = configs + [{**load_yaml(own_task(name)), "task": name} for name in own]
    if not configs:
        raise BadInput("No benchmark task in the files given: expected jsonl, or YAML with the key 'task'.")
    names = [config["task"] for config in configs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"Two benchmarks are called '{min(twice)}': rename one, results are kept by name.")
    tasks: dict[str, Any] = TaskManager(include_defaults=False).load(configs)["tasks"]
    for task in tasks.values():
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(1234)
    return tasks


def _task_configs(path: Path, cache: str) -> list[dict[str, Any]]:
    if path.suffix not in (".yaml", ".yml"):
        return [_jsonl_config(path)]
    config = load_yaml(path)
    # A group, or a part that other files include, is no task of its own.
    return [_yaml_config(config, path, cache)] if isinstance(config.get("task"), str) else []


def _yaml_config(config: dict[str, Any], path: Path, cache: str) -> dict[str, Any]:
    """The task as its file says, its data files found beside it rather than in the working directory."""
    arguments = dict(config.get("dataset_kwargs") or {})
    if "data_files" in arguments:
        arguments["data_files"] = _absolute(arguments["data_files"], path.resolve().parent)
    return {**config, "dataset_kwargs": {**arguments, "cache_dir": cache}}


def _absolute(files: Any, folder: Path) -> Any:
    if isinstance(files, dict):
        return {split: _absolute(value, folder) for split, value in files.items()}
    if isinstance(files, list):
        return [_absolute(value, folder) for value in files]
    return files if "://" in files else str(folder / files)


def _jsonl_config(path: Path) -> dict[str, Any]:
    rows = read_questions(path)
    config = {
        "task": own_name(path.stem),
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
        "output_type": "multiple_choice",
        "test_split": "test",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    if "query" in rows[0]:
        return {**config, "doc_to_text": "query", "doc_to_choice": "choices", "doc_to_target": "gold"}
    # lm-eval's sign for "the contexts are the choices" is a doc_to_text that is a number.
    return {
        **config,
        "doc_to_text": "gold",
        "doc_to_choice": "context_options",
        "doc_to_target": "continuation",
    }


def _measured(task: Any, samples: list[dict[str, Any]]) -> Measured:
    first = samples[0]
    metric = "acc" if "acc" in first["metrics"] else first["metrics"][0]
    if not isinstance(first[metric], int | float):
        raise BadInput(f"The benchmark '{task.task_name}' has no score per question (its metric is '{metric}').")
    # A task with several filters reports each question once for each.
    samples = [sample for sample in samples if sample["filter"] == first["filter"]]
    items = [_item(task, sample, metric) for sample in samples]
    return mean_of("accuracy", sorted(items, key=lambda item: item.item), task.task_name)


def _item(task: Any, sample: dict[str, Any], metric: str) -> Item:
    details: dict[str, Any] = {"metric": metric}
    contexts = [arguments[0] for arguments in sample["arguments"]]
    prompt, completion, target = contexts[0], str(sample["filtered_resps"][0]), sample["target"]
    if task.OUTPUT_TYPE == "multiple_choice":
        several = bool(task.multiple_input)
        options = contexts if several else [arguments[1] for arguments in sample["arguments"]]
        gold = task.doc_to_text(sample["doc"]) if several else target
        likelihoods = [float(response[0]) for response in sample["filtered_resps"]]
        details["log_likelihoods"] = likelihoods
        prompt = str(target) if several else prompt
        completion = options[max(range(len(options)), key=likelihoods.__getitem__)]
        target = options[gold] if isinstance(gold, int) else gold
    return Item(sample["doc_id"], prompt, str(target), completion, float(sample[metric]), details)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No logs or progress bars from lm-eval and datasets, and the process's random numbers as they were."""
    logger, original = logging.getLogger("lm_eval"), tqdm.__init__
    level, drawn = logger.level, random.getstate()
    logger.setLevel(logging.CRITICAL)
    tqdm.__init__ = lambda bar, *args, **options: original(bar, *args, **{**options, "disable": True})
    try:
        yield
    finally:
        tqdm.__init__ = original
        logger.setLevel(level)
        random.setstate(drawn)
