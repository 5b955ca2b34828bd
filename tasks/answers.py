"""answers: a language model lists, passage by passage, what is peculiar to the target corpus.

The answers are kept as they came, also those that cannot be used. What of them counts is
decided in the dictionary stage, so a better merge or a stricter validation asks nothing again.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from storage.artifact import Artifact
from storage.errors import Unanswered
from tasks.contents import Row, answer_rows, documents_of
from tasks.engine.stage import Context, Counts, stage
from tasks.llm.asking import Asked, Asking
from tasks.llm.passages import Passage, drawn, passages_of
from tasks.llm.settings import Endpoint, LlmSettings
from tasks.llm.store import Store, answered_before, question_of


@stage("answers", version=1, protected=True)
def answers(context: Context, corpus: Artifact, settings: LlmSettings, prompt: str, endpoint: Endpoint) -> Counts:
    """Write `anchor_answers` shards, one as soon as answers arrive. Raises Unanswered below the share of the settings.

    `prompt` is the hash of the question's words (store.prompt_hash), here only to be part of the fingerprint.
    """
    passages = asked_about(documents_of(context.path(corpus)), settings)
    store = Store(context, settings)
    missing = unanswered(context, store, passages, settings)
    stopped = _ask(context, store, missing, settings, endpoint, len(passages)) if missing else ""
    return _counted(context.folder, passages, settings, stopped)


def asked_about(documents: Iterable[str], settings: LlmSettings) -> list[Passage]:
    return drawn(passages_of(documents, settings.characters), settings.passages, settings.seed)


def unanswered(context: Context, store: Store, passages: list[Passage], settings: LlmSettings) -> list[Passage]:
    """The passages without an answer; what earlier artifacts know of the same questions becomes a shard of ours."""
    own = {row["passage"] for row in answer_rows(context.folder) if row["reason"] is None}
    open_ = {question_of(passage, settings): passage for passage in passages if passage.name not in own}
    if known := answered_before(context.workspace, open_):
        context.checkpoint(store.write([store.reused(open_[question], row) for question, row in known.items()]))
    return [passage for question, passage in open_.items() if question not in known]


def _ask(
    context: Context, store: Store, missing: list[Passage], settings: LlmSettings, endpoint: Endpoint, total: int
) -> str:
    """Ask, and return why it was stopped, if it was."""
    spent = sum(row["tokens"] for row in answer_rows(context.folder))
    done = count(total - len(missing) + 1)

    async def keep(answered: Asked) -> None:
        await store.keep(answered)
        context.progress(next(done), total)

    return Asking(endpoint, settings, spent=spent).about(missing, keep)


def _counted(folder: Path, passages: list[Passage], settings: LlmSettings, stopped: str) -> Counts:
    rows = answer_rows(folder)
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
    missing = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    detail = stopped or next((row["detail"] for row in rows if row["reason"] and row["detail"]), "")
    return (
        f"expected readable answers about {share:.0%} of {passages} passages, got {answered} ({missing}"
        f"{f'; {detail}' if detail else ''}): what was answered is kept, so run the same job again and only the "
        "rest is asked (see dictionary.endpoint), or lower dictionary.llm.share"
    )
