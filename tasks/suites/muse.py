"""MUSE: books and news that a model shall forget (Shi et al. 2024, arXiv 2407.06460; muse-bench/MUSE-Books, -News).

Questions follow the published examples, 32 greedy tokens, ROUGE-L F1; passages go on for 128 tokens and are compared
with the truth's first 128; Min-K at 0.4 over the texts of privleak.
"""

from collections.abc import Mapping
from functools import partial

from storage.errors import BadInput
from tasks.measure import memorisation
from tasks.suites.common import Asked, Measure, Part, Question, Suite, SuiteSettings, membership, memorised, rouge
from tasks.suites.files import Table

KNOWLEDGE_TOKENS, VERBATIM_TOKENS = 32, 128
STOPS = ("\n\n", "\nQuestion", "Question:")
RETRAINED = {"Books": 1 - 0.5393, "News": 1 - 0.4772}
"""AUC of Min-K of the published retrained models, members above others; used where no reference is given."""


def texts(settings: SuiteSettings) -> Mapping[str, Table]:
    """The books or articles to forget, some to keep, and some that the published models have not read."""
    _refuse_part(settings)
    splits = {"forget": "forget", "retain": "retain1", "holdout": "holdout"}
    return {name: Table("raw", split, ("text",), needed=True) for name, split in splits.items()}


def tables(settings: SuiteSettings) -> Mapping[str, Table]:
    """Questions with their examples, passages to go on with, and texts for membership."""
    _refuse_part(settings)
    pair = ("question", "answer")
    return {
        "forget_qa": Table("knowmem", "forget_qa", pair, needed=True),
        "forget_qa_icl": Table("knowmem", "forget_qa_icl", pair, needed=True),
        "retain_qa": Table("knowmem", "retain_qa", pair),
        "retain_qa_icl": Table("knowmem", "retain_qa_icl", pair),
        "verbmem": Table("verbmem", "forget", ("prompt", "gt"), needed=True),
        "forget": Table("privleak", "forget", ("text",)),
        "holdout": Table("privleak", "holdout", ("text",)),
    }


def _refuse_part(settings: SuiteSettings) -> None:
    if settings.part:
        raise BadInput(f"--part: expected none, as MUSE is asked whole, found {settings.part!r}")


def _knowledge(side: str, asked: Asked) -> dict[str, Measure]:
    examples = asked.tables[f"{side}_qa_icl"]
    shown = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in examples)
    rows = asked.tables[f"{side}_qa"]
    questions = [Question(f"{shown}Question: {row['question']}\nAnswer: ") for row in rows]
    said = asked.generate(questions, KNOWLEDGE_TOKENS, STOPS)
    return {f"{side}_knowmem_ROUGE": rouge([row["answer"] for row in rows], said, "rougeL_f1")}


def _verbatim(asked: Asked) -> dict[str, Measure]:
    rows = asked.tables["verbmem"]
    prompts = [Question(row["prompt"]) for row in rows]
    said = asked.generate(prompts, VERBATIM_TOKENS)
    truths = [asked.first_tokens(row["gt"], VERBATIM_TOKENS) for row in rows]
    answers = asked.answers(
        [(Question(f"{row['prompt']} "), row["gt"].lstrip(" ")) for row in rows], end=False, longest=VERBATIM_TOKENS
    )
    return {"forget_verbmem_ROUGE": rouge(truths, said, "rougeL_f1")} | memorised(answers)


def _membership(asked: Asked) -> dict[str, Measure]:
    return membership(asked, "text", lambda rows: asked.texts([row["text"] for row in rows]))


def finish(retrained: float, measures: dict[str, Measure], reference: dict[str, Measure]) -> dict[str, Measure]:
    """PrivLeak against the reference's log, or else the published retrained model."""
    if "mia_min_k" not in measures:
        return {}
    against = reference.get("mia_min_k", {}).get("agg_value", retrained)
    return {"privleak": {"agg_value": memorisation.privacy_leak(measures["mia_min_k"]["agg_value"], against)}}


PARTS: Mapping[str, Part] = {
    "forget_knowmem": (("forget_qa", "forget_qa_icl"), partial(_knowledge, "forget")),
    "retain_knowmem": (("retain_qa", "retain_qa_icl"), partial(_knowledge, "retain")),
    "verbmem": (("verbmem",), _verbatim),
    "membership": (("forget", "holdout"), _membership),
}
MUSE = tuple(
    Suite(f"muse-{name.lower()}", "MUSE", f"muse-bench/MUSE-{name}", texts, tables, PARTS, partial(finish, auc))
    for name, auc in RETRAINED.items()
)
