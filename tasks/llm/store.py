"""Answers on the disk: small immutable shards of the `anchor_answers` table, found again by what was asked.

Only an answer that can be read is found again. One that ended otherwise is a row with
its reason, and is asked for once more by the next attempt.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from dictionaries.answers import without_thinking
from dictionaries.prompts import SCHEMA, extraction_messages
from storage.shards import read_shard, write_shard
from storage.workspace import Workspace
from tasks.contents import ANSWERS, Row
from tasks.engine.stage import Context
from tasks.llm.asking import Asked
from tasks.llm.passages import Passage
from tasks.llm.settings import LlmSettings

LONGEST_KEPT = 50_000  # characters of an answer; the longest real one has under 3,000


def prompt_hash() -> str:
    """Changes when the words or the schema of the question do."""
    forms = [extraction_messages("", structured) for structured in (True, False)]
    return hashlib.sha256(json.dumps([forms, SCHEMA], sort_keys=True).encode()).hexdigest()[:16]


def question_of(passage: Passage, settings: LlmSettings) -> str:
    """The hash that an answer is found by: passage, prompt, model, and the settings that shape an answer."""
    meaning = [prompt_hash(), settings.model, settings.temperature, settings.answer_tokens, settings.structured]
    text = json.dumps([passage.text, *meaning])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def answered_before(workspace: Workspace, questions: Iterable[str]) -> dict[str, Row]:
    """Readable answers to these questions in any answers artifact, also in unfinished ones, of any machine."""
    wanted, known = set(questions), dict[str, Row]()
    for rows in workspace.read_each("answers", ANSWERS, lambda shard: read_shard(shard).to_pylist()):
        known |= {row["question"]: row for row in rows if row["question"] in wanted and row["reason"] is None}
    return known


class Store:
    """The shards of the artifact that is being made."""

    def __init__(self, context: Context, settings: LlmSettings) -> None:
        self._context, self._settings = context, settings
        # Not their count: a damaged shard in their midst may have been taken away.
        self._number = max(
            (int(shard.stem.rpartition("-")[2]) + 1 for shard in context.folder.glob(ANSWERS)), default=0
        )
        self._waiting: list[Row] = []
        self._lock = asyncio.Lock()

    def write(self, rows: list[Row]) -> Path:
        shard = self._context.folder / ANSWERS.replace("*", f"{self._number:06d}")
        write_shard(shard, rows)
        self._number += 1
        return shard

    async def keep(self, asked: Asked) -> None:
        """Returns when the answer is on the disk. Answers that arrive while another is being kept share a shard."""
        row = self.row(asked)
        self._waiting.append(row)
        async with self._lock:
            if any(waiting is row for waiting in self._waiting):  # else it was written together with another
                rows, self._waiting = self._waiting, []
                await asyncio.to_thread(self._context.checkpoint, self.write(rows))

    def row(self, asked: Asked) -> Row:
        passage, answer = asked.passage, asked.answer
        if len(answer) > LONGEST_KEPT:  # long thinking goes, so that what was said behind it stays
            answer = without_thinking(answer)[:LONGEST_KEPT]
        return {
            "passage": passage.name,
            "document_id": passage.document,
            "first_character": passage.first,
            "characters": len(passage.text),
            "question": question_of(passage, self._settings),
            "model": self._settings.model,
            "answer": answer,
            "reason": asked.reason,
            "detail": asked.detail,
            "requests": asked.requests,
            "tokens": asked.tokens,
            "asked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def reused(self, passage: Passage, row: Row) -> Row:
        """An earlier artifact's answer to the same question, as ours: nothing was asked for it."""
        where = {"passage": passage.name, "document_id": passage.document, "first_character": passage.first}
        return row | where | {"requests": 0, "tokens": 0}
