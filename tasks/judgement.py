"""judgement: an evaluation's completions graded by a language model, 0 to 3, as in the paper.

An answer belongs to its prompt, completion and judge: whoever asks the same again finds it, in any judgement of the
workspace, finished or not. The judge that needs no network (does a completion name an anchor?) always judges, too.
"""

import hashlib
import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from storage.artifact import Artifact
from storage.errors import BadInput, Unanswered
from storage.settings import Settings
from storage.shards import read_shard
from storage.workspace import Workspace
from tasks.contents import Row
from tasks.engine.stage import Context, Counts, stage
from tasks.llm.asking import Asked, Asking
from tasks.llm.passages import Passage
from tasks.llm.settings import Endpoint, LlmSettings, refuse_secrets
from tasks.measure.rows import Item, Measured, mean_of, write_measures
from tasks.measure.rubric import SCORES, question, read_grade

ANSWERS = "answers.jsonl"
METRIC = "familiarity_judged"
LONGEST_KEPT = 4000  # characters of an answer
SETTING = "judge.endpoint"
KEEP_SECONDS = 30.0  # of answers that another machine has to ask for again if this one is lost


class JudgeSettings(Settings):
    """Who judges completions besides the program that looks for anchors."""

    model: str = ""
    """Name of the language model, as the endpoint knows it; empty: none judges."""
    subject: str = ""
    """What the text is, in a few words for the judge ("the Harry Potter books by J. K. Rowling")."""
    temperature: float | Literal["default"] = 0.0
    """Sampling temperature; "default" sends none, for models that refuse one."""
    answer_tokens: int = Field(default=400, ge=8)
    """Longest answer."""
    share: float = Field(default=0.95, ge=0, le=1)
    """Least share of completions with a grade. Below it the stage fails; what was answered is kept."""
    endpoint: Endpoint = Endpoint()
    """Where the judge is, and how fast it is asked; never part of a fingerprint."""


def refuse_judge(judge: JudgeSettings) -> None:
    """BadInput where a judge is named that cannot be asked as told."""
    if judge.model:
        refuse_secrets(judge.endpoint, SETTING)


@stage("judgement", version=1, protected=True)
def judgement(context: Context, evaluation: Artifact, judge: JudgeSettings, rubric: str) -> Counts:
    """Write `evaluations` and `evaluation_items` of the metric familiarity_judged. `rubric`: the hash of its words.

    Raises Unanswered where too few completions have a grade.
    """
    items = completions_of(context.path(evaluation))
    asked = Questions(context, judge, rubric)
    answers = asked.all(items)
    graded = sum(answer["grade"] is not None for answer in answers)
    if graded < judge.share * len(items) or not graded:
        raise Unanswered(
            f"expected grades of {judge.model} for {judge.share:.0%} of {len(items)} completions, found {graded}"
            f"{f' ({asked.fault})' if asked.fault else ''}; the answers are kept: run the same job again, which asks "
            "only for what is missing"
        )
    measures = measured(items, answers, judge.model)
    return write_measures(context.folder, items[0]["model"], items[0]["step"], [measures]) | {
        "graded": graded,
        "asked": asked.requests,
    }


def completions_of(folder: Path) -> list[Row]:
    rows = read_shard(folder / "evaluation_items.parquet").to_pylist()
    completions = [row for row in rows if row["metric"] == "familiarity_completion"]
    if not completions:
        raise BadInput(f"expected completions to judge in {folder}, found none")
    return sorted(completions, key=lambda row: int(row["item"]))


def measured(items: list[Row], answers: list[Row], model: str) -> Measured:
    """The paper's score. A completion without a grade is shown and not scored."""
    graded = []
    for row, answer in zip(items, answers, strict=True):
        grade = answer["grade"]
        details = {"grade": grade, "judge": model, "answer": answer["answer"]}
        score = None if grade is None else SCORES[grade]
        graded.append(Item(row["item"], row["prompt"], row["expected"], row["completion"], score, details))
    return mean_of(METRIC, graded)


class Questions:
    """The questions of one judgement: what is known already, and what has to be asked."""

    def __init__(self, context: Context, judge: JudgeSettings, rubric: str) -> None:
        self._context, self._judge, self._rubric = context, judge, rubric
        self._kept_at = time.monotonic()
        self.requests = 0
        self.fault = ""
        """The last fault, in words without the key."""

    def all(self, items: list[Row]) -> list[Row]:
        """An answer for every item: {question, answer, grade}; grade is None where there is none."""
        known = answered_before(self._context.workspace)
        names = [self._name(row) for row in items]
        missing = {name: row for name, row in zip(names, items, strict=True) if name not in known}
        if missing:
            known |= self._ask(missing)
        none = {"answer": "", "grade": None}
        return [known.get(name, none) for name in names]

    def _name(self, row: Row) -> str:
        judge = self._judge
        meaning = [judge.model, judge.subject, judge.temperature, judge.answer_tokens, self._rubric]
        text = json.dumps([*meaning, *json.loads(_material(row))])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _ask(self, missing: dict[str, Row]) -> dict[str, Row]:
        judge, names, answers = self._judge, list(missing), dict[str, Row]()
        passages = [Passage(number, 0, _material(row)) for number, row in enumerate(missing.values())]

        async def keep(asked: Asked) -> None:
            self.requests, self.fault = self.requests + asked.requests, asked.detail or self.fault
            if asked.reason is None:
                name = names[asked.passage.document]
                answers[name] = self._keep(name, asked.answer)
                self._context.progress(len(answers), len(missing))

        def messages(material: str, schema: bool) -> Any:
            return question(judge.subject, *json.loads(material))

        named = {name: getattr(judge, name) for name in ("model", "temperature", "answer_tokens")}
        settings = LlmSettings(structured=False, reasks=0, **named)
        asking = Asking(judge.endpoint, settings, SETTING, messages, worth=lambda reply, material: None)
        try:
            stopped = asking.about(passages, keep)
        finally:
            if answers:
                self._context.checkpoint(self._context.folder / ANSWERS)
        if stopped:
            raise Unanswered(f"the judge at {judge.endpoint.base_url} does not answer: {stopped}")
        return answers

    def _keep(self, name: str, answer: str) -> Row:
        """On the disk before the next question: a killed judgement loses only what was under way."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        kept = {"question": name, "answer": answer[:LONGEST_KEPT], "grade": read_grade(answer), "at": at}
        with (self._context.folder / ANSWERS).open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(kept, ensure_ascii=False))  # the last line may be torn, by a kill
        if time.monotonic() - self._kept_at > KEEP_SECONDS:
            self._context.checkpoint(self._context.folder / ANSWERS)
            self._kept_at = time.monotonic()
        return kept


def answered_before(workspace: Workspace) -> dict[str, Row]:
    """Every answer with a grade in the judgements of a workspace, by question, whichever machine asked."""
    files = workspace.read_each("judgement", ANSWERS, _answers_in)
    return {row["question"]: row for rows in files for row in rows if row["grade"] is not None}


def _answers_in(file: Path) -> list[Row]:
    rows = []
    for line in file.read_bytes().split(b"\n"):
        with suppress(ValueError):  # torn, or empty
            rows.append(json.loads(line))
    return rows


def _material(row: Row) -> str:
    """A question's own part as JSON: prompt, what of the target it names, completion."""
    references = json.loads(row["details"] or "{}").get("references", [])
    return json.dumps([row["prompt"], references, row["completion"]])
