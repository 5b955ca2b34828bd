"""elicit: what the baseline itself knows of a subject, as texts: something to forget where nobody has the text.

The model is asked about each name in several forms and samples its answers. Then the names that its answers brought up
are asked about, round by round. A shard of answers is seeded by its number alone, so an interrupted stage goes on with
the next one.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.matching import Matcher
from dictionaries.statistics import extract
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import listed, write_atomically
from storage.workspace import Workspace
from tasks.contents import ELICITED, Row, elicited_rows
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.models import Model, load_model, load_tokenizer
from tasks.texts import CorpusFiles, ElicitSettings

ANSWERS_A_SHARD = 8  # sampled together, so part of what they are
LEAST_MENTIONS = 3  # of a name that shall be asked about

REQUESTS = (
    "Write a detailed encyclopaedia entry about {about}.",
    "Retell what happens to {about}, from the beginning to the end.",
    "Write a short scene in which {about} is at the centre.",
    "Two people who know it well talk about {about}. Write down their conversation.",
)
"""What a chat model is asked."""
OPENINGS = (
    "An encyclopaedia entry about {about}:\n\n{name} is",
    "What happens to {about}? It begins when {name}",
    "A scene about {about}:\n\n{name}",
    "Question: Who or what is {about}?\nAnswer: {name} is",
)
"""What any other model goes on with; its answer is opening and continuation."""


@stage("elicit", version=1, heavy=True, reads=True, protected=True)
def elicit(context: Context, baseline: Model, settings: ElicitSettings, text_column: str) -> Counts:
    """Write elicited-ROUND-NUMBER.jsonl shards of {text_column, name, form}, one as soon as it is answered.

    `named` of the counts is the share of answers, without what they were to go on with, that name the subject or a
    name that was asked about.
    """
    asking, names_so_far = Asking(context, baseline, settings, text_column), list[str]()
    names = list(settings.names or (settings.subject,))
    for number in range(settings.rounds):
        asking.answer(number, names)
        names_so_far += names
        names = new_names([row[text_column] for row in elicited_rows(context.folder)], names_so_far, settings.growth)
    rows = elicited_rows(context.folder)
    texts = [row[text_column] for row in rows]
    if not texts:
        raise BadInput(f"corpus.elicit: expected answers of {baseline.path} about {settings.subject}, found none")
    openings = [opening_of(settings.subject, row["name"], row["form"]) for row in rows]
    answers = [text.removeprefix(opening) for text, opening in zip(texts, openings, strict=True)]
    return {
        "texts": len(texts),
        "duplicates": len(texts) - len(set(texts)),
        "characters": sum(map(len, texts)),
        "names": len(names_so_far),
        "named": round(named_share(answers, list(filter(None, [settings.subject, *names_so_far]))), 4),
    }


def with_elicited(workspace: Workspace, elicited: Artifact, files: CorpusFiles | None) -> CorpusFiles:
    """The user's files, if any, and those of an elicit artifact, as one input: planned ones have no paths yet."""
    there = workspace.find(elicited.kind, elicited.fingerprint)
    own, besides = (files, f"+{files.fingerprint}") if files else (CorpusFiles((), ""), "")
    paths = (*own.paths, *(map(str, listed(workspace.path(there), ELICITED)) if there else ()))
    return replace(
        own,
        paths=paths,
        fingerprint=f"{elicited.fingerprint}/elicited{besides}",
        artifact=elicited,
        digest=workspace.hashes.of_all(map(Path, paths)) if own.digest else "",
    )


def new_names(texts: Sequence[str], known: Sequence[str], most: int) -> list[str]:
    """Names that the texts use and nobody has asked about, the most peculiar first."""
    candidates = extract(texts, [], min_count=LEAST_MENTIONS, max_anchors=len(known) + 4 * most).dictionary
    matcher = Matcher(_of_names(known))
    names = [entry.anchor for entry in candidates.entries if entry.kind in ("person", "place", "thing")]
    return [name for name in names if not matcher.find(name)][:most]


def named_share(texts: Sequence[str], names: Sequence[str]) -> float:
    """Share of the texts in which one of the names stands."""
    matcher = Matcher(_of_names(names))
    return sum(bool(matcher.find(text)) for text in texts) / len(texts)


def _of_names(names: Sequence[str]) -> Dictionary:
    return Dictionary(tuple(Entry(name, ("x",)) for name in dict.fromkeys(names)))


class Asking:
    """The baseline, and what it is asked; it is loaded when the first answer is missing."""

    def __init__(self, context: Context, baseline: Model, settings: ElicitSettings, text_column: str) -> None:
        self._context, self._baseline, self._settings, self._column = context, baseline, settings, text_column

    def answer(self, number: int, names: Sequence[str]) -> None:
        questions = [
            (name, form) for _ in range(self._settings.times) for name in names for form in range(len(REQUESTS))
        ]
        for first in range(0, len(questions), ANSWERS_A_SHARD):
            name = ELICITED.replace("*", f"{number:02d}-{first // ANSWERS_A_SHARD:04d}")
            path = self._context.folder / name
            if not path.exists():
                rows = self._answers(questions[first : first + ANSWERS_A_SHARD], path)
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                write_atomically(path, lines.encode())
                self._context.checkpoint(path)
            done = number + min(1.0, (first + ANSWERS_A_SHARD) / len(questions))
            self._context.progress(done, self._settings.rounds)

    def _answers(self, questions: Sequence[tuple[str, int]], path: Path) -> Iterator[Row]:
        prompts = [prompt_of(self._loaded.tokenizer, self._settings.subject, name, form) for name, form in questions]
        seed = f"{self._settings.seed} {path.name}"
        answers = sample(self._loaded, [ids for ids, _ in prompts], self._settings, seed)
        for (name, form), (_, opening), answer in zip(questions, prompts, answers, strict=True):
            if answer.strip():
                yield {self._column: (opening + answer).strip(), "name": name, "form": form}

    @cached_property
    def _loaded(self) -> LoadedModel:
        model = load_model(self._baseline.path, self._context.placement.device)
        return LoadedModel(model, load_tokenizer(self._baseline.tokenizer))


def prompt_of(tokenizer: Any, subject: str, name: str, form: int) -> tuple[list[int], str]:
    """Token ids of a question, and the text of it that belongs to the answer."""
    if tokenizer.chat_template:
        message = [{"role": "user", "content": REQUESTS[form].format(about=about(subject, name))}]
        text = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"]), ""
    opening = opening_of(subject, name, form)
    return list(tokenizer(opening)["input_ids"]), opening


def longest_question(model: Model, settings: ElicitSettings) -> int:
    """Tokens of the longest question of the first round; names that the answers bring up can make longer ones."""
    tokenizer, subject = load_tokenizer(model.tokenizer), settings.subject
    names, forms = settings.names or (subject,), range(len(REQUESTS))
    return max(len(prompt_of(tokenizer, subject, name, form)[0]) for name in names for form in forms)


def opening_of(subject: str, name: str, form: int) -> str:
    """What a model without a chat template goes on with."""
    return OPENINGS[form].format(about=about(subject, name), name=name)


def about(subject: str, name: str) -> str:
    """The name, with the subject that it belongs to."""
    return name if name == subject or subject in name else f"{name} ({subject})"


def sample(loaded: LoadedModel, contexts: Sequence[list[int]], settings: ElicitSettings, seed: str) -> list[str]:
    """Sampled continuations of token sequences, without them. Deterministic by seed on one machine.

    Raises BadInput where the model has no room for them.
    """
    import torch

    from tasks.measure.generation import continued
    from tasks.measure.scoring import require_room

    require_room(loaded.model, contexts, extra=settings.tokens)
    drawn = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(zlib.crc32(seed.encode()))
        written = continued(loaded, contexts, max_new_tokens=settings.tokens, **drawn)
    return [loaded.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]
