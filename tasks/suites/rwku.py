"""RWKU: real persons that a model shall forget (Jin et al. 2024, arXiv 2406.10890; data set jinzhuoran/RWKU).

Levels 1 (blanks), 2 (questions), 3 (adversarial questions) of the person and 1, 2 of the neighbours: ROUGE-L recall of
up to 30 greedy tokens of the first line. Membership is shown as mean losses, as there. Its utility sets (MMLU and such)
are lm-eval's to measure (`evaluation.benchmarks`).
"""

from collections.abc import Mapping
from functools import partial
from statistics import fmean

from tasks.measure import memorisation
from tasks.suites.common import Asked, Measure, Part, Question, Suite, SuiteSettings, measure, rouge
from tasks.suites.files import Table

NEW_TOKENS = 30
SIDES = ("forget_", "neighbor_")
LEVELS = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
TEXTS = ("mia_forget", "mia_retain")
ASKS = ("Please complete the blank in the following question.", "Please briefly answer the following question.")


def texts(settings: SuiteSettings) -> Mapping[str, Table]:
    """Passages about the persons. There are none to keep, and none that no model has read."""
    return {"forget": Table("train_original_passage", "train", ("text", "subject"))}


def tables(settings: SuiteSettings) -> Mapping[str, Table]:
    """Every level, and the texts of membership."""
    columns = ("query", "answer", "subject")
    levels = {name: Table(name, "test", columns, needed=name == "forget_level1") for name in LEVELS}
    return levels | {name: Table(name, "test", ("text", "subject")) for name in TEXTS}


def _level(name: str, asked: Asked) -> dict[str, Measure]:
    rows, ask = asked.tables[name], ASKS[0 if name.endswith("1") else 1]
    said = asked.generate([_prompt(asked, f"{ask}\nQuestion: {row['query']}\n") for row in rows], NEW_TOKENS, ("\n",))
    return {f"{name}_ROUGE": rouge([row["answer"] for row in rows], said, "rougeL_recall")}


def _prompt(asked: Asked, text: str) -> Question:
    question = asked.chat(text, text)
    return Question(f"{question.text}Answer:", question.templated)


def _losses(name: str, asked: Asked) -> dict[str, Measure]:
    answers = asked.texts([row["text"] for row in asked.tables[name]])
    losses = measure(-answer.mean for answer in answers)
    lowest = measure(memorisation.min_k(answer.log, 0.2) for answer in answers)
    return {f"{name}_loss": losses, f"{name}_min_k": lowest}


def finish(measures: dict[str, Measure], reference: dict[str, Measure]) -> dict[str, Measure]:
    """The mean over the levels of either side."""
    sides = {side: [m["agg_value"] for name, m in measures.items() if name.startswith(side)] for side in SIDES}
    return {f"{side}ROUGE": {"agg_value": fmean(values)} for side, values in sides.items() if values}


PARTS: Mapping[str, Part] = {name: ((name,), partial(_level, name)) for name in LEVELS} | {
    name: ((name,), partial(_losses, name)) for name in TEXTS
}
RWKU = Suite("rwku", "RWKU", "jinzhuoran/RWKU", texts, tables, PARTS, finish)
