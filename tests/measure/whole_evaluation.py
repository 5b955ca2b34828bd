"""Everything that is measured of one model, in a process of its own: prints values and the process's peak memory.

python whole_evaluation.py MODEL TEXT, where MODEL is a directory with a tokenizer and TEXT a file.
"""

import json
import resource
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

from dictionaries.dictionary import Dictionary, Entry
from tasks.audit.extraction import recited
from tasks.audit.membership import inferred
from tasks.audit.passages import PassageSettings, draw_passages
from tasks.audit.questions import Question, answered
from tasks.measure.benchmarks import by_benchmarks
from tasks.measure.familiarity import by_completion, by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured

NAMES = ("Ottoline Vex", "Tamsin", "Castle Marrow", "spindleball")


def measures(model: LoadedModel, text: str, folder: Path) -> list[Measured]:
    """One of each measure; the longest prompt is of thousands of tokens, most are short."""
    words = Dictionary(tuple(Entry(name, ("Ann",)) for name in NAMES))
    beginnings = [text[:6000], *(text[start : start + 300].strip() for start in range(0, 2100, 300))]
    prompts = [Prompt(beginning, NAMES, ("Ann", "a ball")) for beginning in beginnings]
    rows = [{"query": text[:500] + str(number), "choices": ["a ball", "a tree"], "gold": 0} for number in range(8)]
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    drawn = draw_passages(model.tokenizer, [text[:9000]], PassageSettings(count=8, tokens=100))
    passages = [passage.text for passage in drawn]
    return [
        by_probability(model, prompts),
        by_completion(model, prompts, words, new_tokens=4),
        perplexity(model, [text], limit=8),
        *by_benchmarks(model, [questions]),
        *inferred(model, passages[:4], passages[4:]),
        *recited(model, drawn),
        answered(model, [Question(text[:200], ".", name, NAMES) for name in NAMES], hints=False),
    ]


def main(folder: Path, text: Path) -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    loaded = LoadedModel(model, AutoTokenizer.from_pretrained(folder))
    values = {f"{row.metric} {row.task}": row.value for row in measures(loaded, text.read_text("utf-8"), text.parent)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    weights = sum(parameter.nbytes for parameter in model.parameters())
    print(json.dumps({"values": values, "peak": peak, "weights": weights}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
