"""Prompts that ask a model for the target: read from a file, or cut out of passages of the target itself.

A continuation is the literal text after its prompt, with one convenience: between two word characters (or
after . , : ; ! ? and closing brackets) a space is put, so that "Harry Potter studies" + "magic" works.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Match, Matcher
from dictionaries.spelling import HANGUL, LETTER, RUNNING
from storage.errors import BadInput

KEYS = {"prompt", "idiosyncratic", "generic", "references", "subtlety"}
LEAST_CONTEXT = 60  # characters in front of an anchor; with fewer nothing in the passage points at the target
SPACE_AFTER = ".,:;!?)]}"
STRAIGHT = str.maketrans("\u2018\u2019\u02bc", "'''")  # one character for one, so places stay where they are


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, continuations peculiar to the target, generic ones, and the references that it names."""

    prompt: str
    idiosyncratic: tuple[str, ...] = ()
    generic: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


def joined(prompt: str, continuation: str) -> str:
    """The prompt with its continuation, and a space between where both sides would run together."""
    runs_together = continuation[:1].isalnum() and (prompt[-1:].isalnum() or prompt[-1:] in SPACE_AFTER)
    return prompt + (" " if prompt and runs_together else "") + continuation


def mentions(text: str, phrase: str) -> re.Match[str] | None:
    """The last place where the phrase stands in the text as whole words, in any case."""
    text, words = text.translate(STRAIGHT), phrase.translate(STRAIGHT).split()
    # Most phrases are not there at all, and a thousand expressions take long to compile.
    if not words or " ".join(words).casefold() not in " ".join(text.split()).casefold():
        return None
    spelled = r"\s+".join(map(re.escape, words))
    bounds = ("", "") if RUNNING.search(phrase) else (f"(?<!{LETTER})", f"(?!{LETTER})")
    matches = list(re.finditer(spelled.join(bounds), text, re.IGNORECASE))
    return matches[-1] if matches else None


def read_prompts(path: Path) -> list[Prompt]:
    """A JSON list of {"prompt", "idiosyncratic", "generic", "references"}; only "prompt" must be there.

    {"prompt": {"prompt", "references", "subtlety"}} is read as well. BadInput names the file and the entry.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"Prompts must be a JSON file, but {path} cannot be read: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"{path} must hold a list of prompts, each an object with the key 'prompt'.")
    return [_read_prompt(entry, f"{path}, entry {number}") for number, entry in enumerate(entries)]


def _read_prompt(entry: Any, where: str) -> Prompt:
    if isinstance(entry, dict) and isinstance(entry.get("prompt"), dict):
        entry = {**entry, **entry["prompt"]}
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str) or not entry["prompt"].strip():
        raise BadInput(f"{where}: expected an object whose 'prompt' is a text, found {_brief(entry)}.")
    if unknown := sorted(entry.keys() - KEYS):
        raise BadInput(f"{where}: unknown key '{unknown[0]}'; the keys are {', '.join(sorted(KEYS))}.")
    lists = {key: _texts(entry.get(key, []), key, where) for key in ("idiosyncratic", "generic", "references")}
    return Prompt(entry["prompt"], **lists)


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise BadInput(f"{where}: '{key}' must be a list of texts that are not empty, found {_brief(value)}.")
    return tuple(dict.fromkeys(value))


def _brief(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) < 80 else shown[:77] + "..."


def with_anchors(prompts: Sequence[Prompt], dictionary: Dictionary) -> list[Prompt]:
    """Prompts without idiosyncratic continuations get every anchor that the prompt has not said."""
    anchors = [entry.anchor for entry in dictionary.entries]
    return [
        prompt
        if prompt.idiosyncratic
        else replace(prompt, idiosyncratic=tuple(a for a in anchors if not mentions(prompt.prompt, a)))
        for prompt in prompts
    ]


def prompts_from_corpus(
    documents: Sequence[str],
    dictionary: Dictionary,
    count: int,
    *,
    context_characters: int = 400,
    seed: int = 0,
) -> list[Prompt]:
    """Up to `count` passages of the target, each cut right before an anchor that it has not said yet.

    The anchor, spelled as in the text, is the idiosyncratic continuation, its translations are generic ones.
    Anchors take turns, and each takes its next passage from the document used least so far. BadInput where
    no passage fits.
    """
    places = _places(documents, Matcher(dictionary), chance := random.Random(seed))
    turns = sorted(places)
    chance.shuffle(turns)
    prompts: dict[str, Prompt] = {}
    used: Counter[int] = Counter()
    while turns and len(prompts) < count:
        for entry in turns[: count - len(prompts)]:
            for number, match in _least_used(places[entry], used):
                prompt = _cut(documents[number], match, dictionary, context_characters)
                if prompt and prompt.prompt not in prompts:
                    prompts[prompt.prompt] = prompt
                    used[number] += 1
                    break
        turns = [entry for entry in turns if places[entry]]
    if prompts:
        return list(prompts.values())
    raise BadInput(
        f"No prompt can be cut: an anchor needs {LEAST_CONTEXT} characters before it without its name. "
        "Give longer passages, or prompts of your own."
    )


def _places(documents: Sequence[str], matcher: Matcher, chance: random.Random) -> dict[int, list[tuple[int, Match]]]:
    """Where each entry of the dictionary stands: (document, match), shuffled."""
    places: dict[int, list[tuple[int, Match]]] = defaultdict(list)
    for number, document in enumerate(documents):
        for match in matcher.find(document):
            places[match.entry].append((number, match))
    for entry in sorted(places):
        chance.shuffle(places[entry])
    return places


def _least_used(places: list[tuple[int, Match]], used: Counter[int]) -> Iterator[tuple[int, Match]]:
    """Takes places out of the list, those of the least used documents first."""
    places.sort(key=lambda place: -used[place[0]])  # stable, so the shuffled order decides between equals
    while places:
        yield places.pop()


def _cut(document: str, match: Match, dictionary: Dictionary, context_characters: int) -> Prompt | None:
    """The passage before the match as a prompt; None where too little is left or a line ends there."""
    anchor = document[match.start : match.end]
    before = document[max(0, match.start - context_characters) : match.start]
    if match.start > context_characters:
        before = before.partition(" ")[2] or before  # the first word may be half a word, where there are spaces
    if said := mentions(before, anchor):
        before = before[said.end() :]
        before = before.partition(" ")[2] if HANGUL.match(before) else before  # a particle without its name
    passage = before.strip()
    gap = before[len(before.rstrip()) :]
    # In characters of an alphabet: one that is a syllable or a word counts as three.
    length = len(passage) + 2 * len(RUNNING.findall(passage))
    # A model cannot know where the printed lines of a book break.
    if length < LEAST_CONTEXT or gap not in ("", " ") or "\n" in anchor:
        return None
    translations = tuple(gap + text for text in dictionary.entries[match.entry].translations)
    return Prompt(passage, (gap + anchor,), translations)
