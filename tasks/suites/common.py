"""What the suites share: a model asked as they ask, and their measures in the shape of open-unlearning's logs.

A measure is {"agg_value": number, "value_by_index": {"0": {...}, ...}}; the index counts the rows that were asked.
Their logs hold the texts besides; ours do not, so that they can be handed on.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import Field

from storage.errors import BadInput
from storage.files import Files, write_atomically
from storage.settings import Settings
from tasks.contents import Row
from tasks.measure import memorisation
from tasks.measure.loaded import LoadedModel
from tasks.suites.files import Table, read_rows

Measure = dict[str, Any]

SYSTEM, DATE = "You are a helpful assistant.", "10 Apr 2025"
"""What open-unlearning tells chat models first; a template that takes no system message is used without."""
LONGEST = 2048
"""Tokens of a text in membership inference, or the model's context where that is shorter."""


class SuiteSettings(Settings):
    """How much of a suite is asked."""

    part: str = ""
    """TOFU: forget01, forget05 or forget10 (the default); RWKU: one subject, by default all."""
    limit: int = Field(default=100, ge=0)
    """First rows of each table; 0: all of them, as published results have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model gives the tokens of an answer after its prompt."""

    log: list[float]
    """Log-probability of each token, of EOS behind it too where the suite asks for that."""
    hit: list[bool]
    """Whether each was the most probable token."""

    @property
    def mean(self) -> float:
        """Mean log-probability a token: the negative of their avg_loss."""
        return fmean(self.log)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as the model reads it, and whether it is a chat template's text, which has its special tokens in it."""

    text: str
    templated: bool = False


class Asked:
    """The audited model in memory, asked as the suites ask."""

    def __init__(self, loaded: LoadedModel, tables: Mapping[str, list[Row]]) -> None:
        self.loaded, self.tokenizer, self.tables = loaded, loaded.tokenizer, tables

    def chat(self, question: str, plain: str) -> Question:
        """The question in the model's chat template; in the plain form where it has none."""
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            return Question(plain)
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        how: Any = {"tokenize": False, "add_generation_prompt": True, "date_string": DATE}
        try:
            return Question(str(self.tokenizer.apply_chat_template(turns, **how)), templated=True)
        except TemplateError:
            return Question(str(self.tokenizer.apply_chat_template(turns[1:], **how)), templated=True)

    def answers(self, pairs: Sequence[tuple[Question, str]], *, end: bool = True, longest: int = 0) -> list[Answer]:
        """Each answer's tokens after its prompt: the `longest` first (0: all), with EOS behind them where `end`."""
        sequences, firsts = [], []
        for question, answer in pairs:
            ids, first = self._split(question, answer)
            ids = ids[: first + longest] if longest else ids
            sequences.append([*ids, self.tokenizer.eos_token_id] if end else ids)
            firsts.append(first)
        return self._scored(sequences, firsts)

    def texts(self, texts: Sequence[str]) -> list[Answer]:
        """Whole texts, without a prompt: all tokens but the first, of at most LONGEST."""
        from tasks.measure.scoring import context_length, encode

        room = min(LONGEST, context_length(self.loaded.model) or LONGEST)
        sequences = [encoded.ids[:room] for encoded in encode(self.tokenizer, texts)]
        return self._scored(sequences, [1] * len(sequences))

    def generate(self, questions: Sequence[Question], new_tokens: int, stops: Sequence[str] = ()) -> list[str]:
        """Greedy answers, cut at the first of the stop texts, without spaces around them."""
        from tasks.measure.generation import greedy

        contexts = [self._ids(question, question.text.rstrip(" "))[0] for question in questions]
        written = greedy(self.loaded, contexts, new_tokens)
        said = (str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in written)
        return [cut(text, stops).strip() for text in said]

    def first_tokens(self, text: str, count: int) -> str:
        """The text up to its first `count` tokens."""
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(offsets) <= count else text[: offsets[count - 1][1]]

    def _split(self, question: Question, answer: str) -> tuple[list[int], int]:
        """The ids of prompt and answer, and the place of the answer's first token.

        By characters: a space at the prompt's end belongs to the answer's first token in most tokenizers.
        """
        ids, offsets = self._ids(question, question.text + answer)
        seam = len(question.text.rstrip(" "))
        return ids, max(1, next(place for place, (_, end) in enumerate(offsets) if end > seam))

    def _ids(self, question: Question, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        from tasks.measure.scoring import encode

        if question.templated:
            batch = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            return list(batch["input_ids"]), list(batch["offset_mapping"])
        (encoded,) = encode(self.tokenizer, [text])
        return encoded.ids, encoded.offsets

    def _scored(self, sequences: Sequence[list[int]], firsts: Sequence[int]) -> list[Answer]:
        from tasks.measure.scoring import likelihood, token_statistics

        scored = token_statistics(self.loaded, sequences, firsts, likelihood)
        return [Answer(row_T2[:, 0].tolist(), row_T2[:, 1].bool().tolist()) for row_T2 in scored]


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first stop in it."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def rows_of(tables: Mapping[str, Table], files: Mapping[str, Files], settings: SuiteSettings) -> dict[str, list[Row]]:
    """The rows that are asked, of the tables that are there. BadInput for a part that none of a table's rows is of."""
    asked = {}
    for name, table in tables.items():
        if name not in files:
            continue
        rows = read_rows(files[name], table.columns)
        if part := settings.part:
            rows = [row for row in rows if row.get("subject", part) == part]
        if not rows:
            raise BadInput(f"--part: expected a subject of {name}, found no row about {part!r} in it")
        asked[name] = rows[: settings.limit or None]
    return asked


def measure(values: Iterable[float], key: str = "score") -> Measure:
    """The mean of one value a row."""
    return logged(({key: value} for value in values), key)


def logged(rows: Iterable[Row], key: str) -> Measure:
    """The mean of one of the values of each row."""
    by_index = {str(number): row for number, row in enumerate(rows)}
    return {"agg_value": fmean(row[key] for row in by_index.values()), "value_by_index": by_index}


def probabilities(answers: Sequence[Answer]) -> Measure:
    """Mean probability, with EOS where it was asked for."""
    rows = ({"prob": memorisation.probability(answer.log), "avg_loss": -answer.mean} for answer in answers)
    return logged(rows, "prob")


def memorised(answers: Sequence[Answer]) -> dict[str, Measure]:
    """Exact memorisation and extraction strength as open-unlearning has them: without the last label, floor 1/T."""
    hits = [answer.hit[:-1] for answer in answers if len(answer.hit) > 1]
    return {
        "exact_memorization": measure(map(memorisation.exact_memorisation, hits)),
        "extraction_strength": measure(memorisation.extraction_strength(hit, least=1) for hit in hits),
    }


def rouge(truths: Sequence[str], said: Sequence[str], kind: str) -> Measure:
    """ROUGE-L with stemming, as open-unlearning calls it; the mean of `kind` (rougeL_recall, rougeL_f1)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    scores = (scorer.score(*pair) for pair in zip(truths, said, strict=True))
    rows = (
        {"rouge1_recall": one.recall, "rougeL_f1": long.fmeasure, "rougeL_recall": long.recall}
        for one, long in map(itemgetter("rouge1", "rougeL"), scores)
    )
    return logged(rows, kind)


def membership(asked: Asked, column: str, read: Callable[[list[Row]], list[Answer]]) -> dict[str, Measure]:
    """AUC of each attack over the texts of a column: high where the rows to forget have the lower loss."""
    tables = asked.tables["forget"], asked.tables["holdout"]
    sides = [[(row[column], answer) for row, answer in zip(rows, read(rows), strict=True)] for rows in tables]
    attacks: dict[str, Callable[[str, Answer], float]] = {
        "mia_loss": lambda text, answer: -answer.mean,
        "mia_zlib": lambda text, answer: -answer.mean / len(zlib.compress(text.encode())),
        "mia_min_k": lambda text, answer: memorisation.min_k(answer.log[:-1] or answer.log),
    }
    measures = {}
    for name, score in attacks.items():
        forget, holdout = ([score(*pair) for pair in side] for side in sides)
        value, _ = memorisation.auc([-score for score in forget], [-score for score in holdout])
        measures[name] = {"forget": measure(forget), "holdout": measure(holdout), "auc": value, "agg_value": value}
    return measures


Part = tuple[tuple[str, ...], Callable[[Asked], dict[str, Measure]]]
"""(tables that it needs, what it measures)."""


@dataclass(frozen=True)
class Suite:
    """A published suite, whole."""

    name: str
    title: str
    """How its files are called: TOFU_EVAL.json."""
    published: str
    """Its data set's name on the hub."""
    texts: Callable[[SuiteSettings], Mapping[str, Table]]
    """What a job unlearns with: `forget`; where the suite has them `retain`, and `holdout`, which no model has read."""
    tables: Callable[[SuiteSettings], Mapping[str, Table]]
    """What it reads."""
    parts: Mapping[str, Part]
    """What is measured, in order."""
    finish: Callable[[dict[str, Measure], dict[str, Measure]], dict[str, Measure]]
    """Measures made of all others and of a retrained model's log (empty where there is none)."""


def write_logs(folder: Path, title: str, measures: Mapping[str, Measure]) -> tuple[Path, Path]:
    """TITLE_EVAL.json with every item, and TITLE_SUMMARY.json with the numbers alone."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"EVAL": measures, "SUMMARY": {name: value["agg_value"] for name, value in measures.items()}}
    paths = {kind: folder / f"{title}_{kind}.json" for kind in contents}
    for kind, value in contents.items():
        write_atomically(paths[kind], json.dumps(value, indent=4).encode())
    return paths["EVAL"], paths["SUMMARY"]
