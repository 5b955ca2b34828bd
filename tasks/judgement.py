"""judgement: an evaluation's completions graded by a language model, 0 to 3, as in the paper.

An answer belongs to its prompt, completion and judge: whoever asks the same again finds it, in any judgement of the
workspace, finished or not. The judge that needs no network (does a completion name an anchor?) always judges, too.
"""

import asyncio
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
from tasks.engine.stage import Context, Counts, stage
from tasks.llm.pace import Pace
from tasks.llm.settings import Endpoint, read_key, refuse_secrets
from tasks.measure.rows import Item, Measured, mean_of, write_measures
from tasks.measure.rubric import SCORES, question, read_grade

ANSWERS = "answers.jsonl"
METRIC = "familiarity_judged"
LONGEST_KEPT = 4000  # characters of an answer
SETTING = "judge.endpoint"
KEEP_SECONDS = 30.0  # of answers that another machine has to ask for again if this one is lost
PATIENCE = 10  # completions in a row without any answer before the endpoint is given up

Row = dict[str, Any]


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
    asking = Asking(context, judge, rubric)
    answers = asking.all(items)
    graded = sum(answer["grade"] is not None for answer in answers)
    if graded < judge.share * len(items) or not graded:
        raise Unanswered(
            f"expected grades of {judge.model} for {judge.share:.0%} of {len(items)} completions, found {graded}"
            f"{f' ({asking.fault})' if asking.fault else ''}; the answers are kept: run the same job again, which asks "
            "only for what is missing"
        )
    measures = measured(items, answers, judge.model)
    return write_measures(context.folder, items[0]["model"], items[0]["step"], [measures]) | {
        "graded": graded,
        "asked": asking.requests,
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


class Asking:
    """The questions of one judgement: what is known already, and what has to be asked."""

    def __init__(self, context: Context, judge: JudgeSettings, rubric: str) -> None:
        self._context, self._judge, self._rubric = context, judge, rubric
        self._silent, self._kept_at = 0, time.monotonic()
        self.requests = 0
        """Requests made, without the client's own retries."""
        self.fault = ""
        """The last fault, in words without the key."""

    def all(self, items: list[Row]) -> list[Row]:
        """An answer for every item: {question, answer, grade}; grade is None where there is none."""
        known = answered_before(self._context.workspace)
        names = [self._name(row) for row in items]
        missing = {name: row for name, row in zip(names, items, strict=True) if name not in known}
        if missing:
            known |= asyncio.run(self._ask(missing))
        none = {"answer": "", "grade": None}
        return [known.get(name, none) for name in names]

    def _name(self, row: Row) -> str:
        judge = self._judge
        meaning = [judge.model, judge.subject, judge.temperature, judge.answer_tokens, self._rubric]
        text = json.dumps([*meaning, row["prompt"], _references(row), row["completion"]])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    async def _ask(self, missing: dict[str, Row]) -> dict[str, Row]:
        import openai

        endpoint, answers = self._judge.endpoint, dict[str, Row]()
        key = read_key(endpoint, SETTING)
        slots, pace = asyncio.Semaphore(endpoint.concurrency), Pace(endpoint.requests_per_minute)
        client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=endpoint.retries, timeout=endpoint.timeout_seconds
        )

        async def ask(name: str, row: Row) -> None:
            async with slots:
                await pace.turn()
                try:
                    answer = await self._answer(client, row)
                except openai.OpenAIError as error:
                    self._note(error, _words(error, key))
                    return
                self._silent = 0
                answers[name] = self._keep(name, answer.replace(key, "[key]") if len(key) >= 8 else answer)
                self._context.progress(len(answers), len(missing))

        try:
            async with client:
                await asyncio.gather(*map(ask, missing, missing.values()))
        finally:
            if answers:
                self._context.checkpoint(self._context.folder / ANSWERS)
        return answers

    def _note(self, error: Exception, words: str) -> None:
        """A completion stays without an answer. Raises Unanswered where none of the others will get one, either."""
        self.fault, self._silent = words, self._silent + 1
        status = getattr(error, "status_code", None)
        if status in (401, 403, 404) or self._silent >= PATIENCE:
            raise Unanswered(f"the judge at {self._judge.endpoint.base_url} does not answer: {words}")

    async def _answer(self, client: Any, row: Row) -> str:
        judge = self._judge
        form: dict[str, Any] = {judge.endpoint.limit_parameter: judge.answer_tokens}
        if judge.temperature != "default":
            form["temperature"] = judge.temperature
        self.requests += 1
        reply = await client.chat.completions.create(
            model=judge.model,
            messages=question(judge.subject, row["prompt"], _references(row), row["completion"]),
            **form,
        )
        return (reply.choices[0].message.content or "") if reply.choices else ""

    def _keep(self, name: str, answer: str) -> Row:
        """On the disk before the next question: a killed judgement loses only what was under way."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        kept = {"question": name, "answer": answer[:LONGEST_KEPT], "grade": read_grade(answer), "at": at}
        with (self._context.folder / ANSWERS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept, ensure_ascii=False) + "\n")
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
    for line in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # torn by a kill
            rows.append(json.loads(line))
    return rows


def _references(row: Row) -> list[str]:
    references: list[str] = json.loads(row["details"] or "{}").get("references", [])
    return references


def _words(error: Exception, key: str) -> str:
    return " ".join(str(error).replace(key, "[key]").split())[:200]
