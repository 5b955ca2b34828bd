"""TOFU: questions about authors who do not exist (Maini et al. 2024, arXiv 2401.06121; data set locuslab/TOFU).

As open-unlearning computes it: probability over the answer with its EOS, ROUGE-L recall of up to 200 greedy tokens,
truth ratio between paraphrased and perturbed answers (between the answer and its options for authors and facts).
"""

from collections.abc import Mapping
from functools import partial
from statistics import harmonic_mean

from storage.errors import BadInput
from tasks.contents import Row
from tasks.measure import memorisation
from tasks.suites.common import (
    Answer,
    Asked,
    Measure,
    Part,
    Question,
    Suite,
    SuiteSettings,
    measure,
    membership,
    memorised,
    probabilities,
    rouge,
)
from tasks.suites.files import Table

NEW_TOKENS = 200
SHARES = ("forget01", "forget05", "forget10")
UTILITY = tuple(
    f"{name}_{kind}"
    for name, probability in (("retain", "Q_A_Prob"), ("ra", "Q_A_Prob_normalised"), ("wf", "Q_A_Prob_normalised"))
    for kind in (probability, "Q_A_ROUGE", "Truth_Ratio")
)
PERTURBED = ("question", "answer", "paraphrased_answer", "perturbed_answer")
OPTIONS = ("question", "answer", "perturbed_answer")
PAIR = ("question", "answer")


def texts(settings: SuiteSettings) -> Mapping[str, Table]:
    """Questions with answers about the authors to forget, all the others, and authors that no model has read about."""
    part = _part(settings)
    retain, holdout = f"retain{100 - int(part[-2:])}", part.replace("forget", "holdout")
    return {
        "forget": Table(part, "train", PAIR, needed=True),
        "retain": Table(retain, "train", PAIR, needed=True),
        "holdout": Table(holdout, "train", PAIR),
    }


def tables(settings: SuiteSettings) -> Mapping[str, Table]:
    """The perturbed sets, each in its configuration's only split."""
    part = _part(settings)
    return {
        "forget": Table(f"{part}_perturbed", "train", PERTURBED, needed=True),
        "holdout": Table(part.replace("forget", "holdout"), "train", PAIR),
        "retain": Table("retain_perturbed", "train", PERTURBED),
        "ra": Table("real_authors_perturbed", "train", OPTIONS),
        "wf": Table("world_facts_perturbed", "train", OPTIONS),
    }


def _part(settings: SuiteSettings) -> str:
    part = settings.part or SHARES[-1]
    if part not in SHARES:
        raise BadInput(f"--part: expected one of {', '.join(SHARES)} for TOFU, found {part}")
    return part


def _question(asked: Asked, row: Row) -> Question:
    return asked.chat(row["question"], f"Question: {row['question']}\nAnswer: ")


def _right(asked: Asked, rows: list[Row]) -> list[Answer]:
    return asked.answers([(_question(asked, row), row["answer"]) for row in rows])


def _about(name: str, asked: Asked) -> dict[str, Measure]:
    rows = asked.tables[name]
    questions = [_question(asked, row) for row in rows]
    right = _right(asked, rows)
    said = asked.generate(questions, NEW_TOKENS)
    measures = {f"{name}_Q_A_Prob": probabilities(right)}
    measures[f"{name}_Q_A_ROUGE"] = rouge([row["answer"] for row in rows], said, "rougeL_recall")
    wrong = _perturbed(asked, questions, rows)
    if name in ("ra", "wf"):
        return measures | _among_options(name, right, wrong)
    pairs = [(question, row["paraphrased_answer"]) for question, row in zip(questions, rows, strict=True)]
    measures[f"{name}_Q_A_PARA_Prob"] = probabilities(paraphrased := asked.answers(pairs))
    return measures | (memorised(right) if name == "forget" else {}) | _truth(name, paraphrased, wrong)


def _perturbed(asked: Asked, questions: list[Question], rows: list[Row]) -> list[list[Answer]]:
    """The wrong answers of each row."""
    pairs = [(q, wrong) for q, row in zip(questions, rows, strict=True) for wrong in row["perturbed_answer"]]
    scored = iter(asked.answers(pairs))
    return [[next(scored) for _ in row["perturbed_answer"]] for row in rows]


def _truth(name: str, right: list[Answer], wrong: list[list[Answer]]) -> dict[str, Measure]:
    ratios = [
        memorisation.truth_ratio(correct.mean, [answer.mean for answer in many])
        for correct, many in zip(right, wrong, strict=True)
    ]
    forget = name == "forget"
    total = memorisation.neither_preferred(ratios) if forget else memorisation.truth_preferred(ratios)
    return {"forget_truth_ratio" if forget else f"{name}_Truth_Ratio": measure(ratios) | {"agg_value": total}}


def _among_options(name: str, right: list[Answer], wrong: list[list[Answer]]) -> dict[str, Measure]:
    shares = [
        memorisation.share_of_right(
            memorisation.probability(correct.log), [memorisation.probability(answer.log) for answer in many]
        )
        for correct, many in zip(right, wrong, strict=True)
    ]
    return {f"{name}_Q_A_Prob_normalised": measure(shares, "prob")} | _truth(name, right, wrong)


def _membership(asked: Asked) -> dict[str, Measure]:
    return membership(asked, "answer", partial(_right, asked))


def finish(measures: dict[str, Measure], reference: dict[str, Measure]) -> dict[str, Measure]:
    """Model utility where all nine parts are there; forget quality and PrivLeak against a retrained model."""
    extra = {}
    if all(name in measures for name in UTILITY):
        parts = [measures[name]["agg_value"] for name in UTILITY]
        extra["model_utility"] = {"agg_value": harmonic_mean(parts)}  # one part at 0 makes it 0
    if retrained := reference.get("forget_truth_ratio", {}).get("value_by_index"):
        ours = measures["forget_truth_ratio"]["value_by_index"]
        same = [row for row in ours if row in retrained] or list(retrained)
        ratios = [row["score"] for row in ours.values()], [retrained[row]["score"] for row in same]
        extra["forget_quality"] = {"agg_value": memorisation.forget_quality(*ratios)}
    if "mia_min_k" in measures and "mia_min_k" in reference:
        values = measures["mia_min_k"]["agg_value"], reference["mia_min_k"]["agg_value"]
        extra["privleak"] = {"agg_value": memorisation.privacy_leak(*values)}
    return extra


ABOUT: Mapping[str, Part] = {name: ((name,), partial(_about, name)) for name in ("forget", "retain", "ra", "wf")}
PARTS = {**ABOUT, "membership": (("holdout",), _membership)}
TOFU = Suite("tofu", "TOFU", "locuslab/TOFU", texts, tables, PARTS, finish)
