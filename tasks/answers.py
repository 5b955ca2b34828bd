"""answers: a language model lists, passage by passage, what is peculiar to the target corpus.

What a reader would get wrong: the answers are kept as they came, also those that cannot be used. What of them counts is
decided in the dictionary stage, so a better merge or a stricter validation asks nothing again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from storage.artifact import Artifact
from storage.errors import Unanswered
from tasks.corpus import documents_of
from tasks.extraction.asking import Asked, Asking
from tasks.extraction.passages import Passage, drawn, passages_of
from tasks.extraction.settings import Endpoint, LlmSettings, read_key
from tasks.extraction.store import Row, Store, answered_before, question_of, rows_in
from tasks.stage import Counts, Work, stage


@stage("answers", version=1, protected=True)
def answers(work: Work, corpus: Artifact, settings: LlmSettings, prompt: str, endpoint: Endpoint) -> Counts:
    """Write `anchor_answers` shards, one as soon as answers arrive. Raises Unanswered below the share of the settings.

    `prompt` is the hash of the question's words (store.prompt_hash), here only to be part of the fingerprint.
    """
    passages = asked_about(documents_of(work.path(corpus)), settings)
    store = Store(work, settings)
    missing = unanswered(work, store, passages, settings)
    stopped = _ask(work, store, missing, settings, endpoint, len(passages)) if missing else ""
    return _counted(work.folder, passages, settings, stopped)


def asked_about(documents: Iterable[str], settings: LlmSettings) -> list[Passage]:
    """The passages that the settings choose."""
    return drawn(passages_of(documents, settings.characters), settings.passages, settings.seed)


def unanswered(work: Work, store: Store, passages: list[Passage], settings: LlmSettings) -> list[Passage]:
    """The passages without an answer; what earlier artifacts know of the same questions becomes a shard of ours."""
    own = {row["passage"] for row in rows_in(work.folder) if row["reason"] is None}
    open_ = {question_of(passage, settings): passage for passage in passages if passage.name not in own}
    known = answered_before(work.workspace, open_)
    if known:
        work.wrote(store.write([store.reused(open_[question], row) for question, row in known.items()]))
    return [passage for question, passage in open_.items() if question not in known]


def _ask(
    work: Work, store: Store, missing: list[Passage], settings: LlmSettings, endpoint: Endpoint, total: int
) -> str:
    """Ask, and return why it was stopped, if it was."""
    from tasks.extraction.client import Client

    key = read_key(endpoint)
    spent = sum(row["tokens"] for row in rows_in(work.folder))
    done = total - len(missing)

    async def ask() -> str:
        async with Client(endpoint, settings, key) as client:
            asking = Asking(client, endpoint, settings, spent)

            async def keep(asked: Asked) -> None:
                nonlocal done
                await store.keep(asked)
                done += 1
                work.progress(done, total)

            await asking.all(missing, keep)
            return asking.stopped

    return asyncio.run(ask())


def _counted(folder: Path, passages: list[Passage], settings: LlmSettings, stopped: str) -> Counts:
    rows = rows_in(folder)
    last = {row["passage"]: row for row in sorted(rows, key=lambda row: row["reason"] is None)}
    reasons = Counter(str(row["reason"]) for row in last.values() if row["reason"] is not None)
    if len(last) < len(passages):
        reasons["not asked"] = len(passages) - len(last)
    answered = len(passages) - reasons.total()
    if answered < settings.share * len(passages):
        raise Unanswered(_what_is_missing(answered, len(passages), settings.share, reasons, stopped, last.values()))
    return {
        "passages": len(passages),
        "answered": answered,
        "unanswered": reasons.total(),
        "missing": dict(sorted(reasons.items())),
        "requests": sum(row["requests"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
        "stopped": stopped,
    }


def _what_is_missing(
    answered: int, passages: int, share: float, reasons: Counter[str], stopped: str, rows: Iterable[Row]
) -> str:
    missing = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    detail = stopped or next((row["detail"] for row in rows if row["reason"] and row["detail"]), "")
    return (
        f"expected readable answers about {share:.0%} of {passages} passages, got {answered} ({missing}"
        f"{f'; {detail}' if detail else ''}): what was answered is kept, so run the same job again and only the "
        "rest is asked (see dictionary.endpoint), or lower dictionary.llm.share"
    )
