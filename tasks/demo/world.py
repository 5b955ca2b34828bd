"""The demo's small world: generic stories, a fictional book series to forget, and the truth about both.

The target's chapters are the generic world's own scenes told about a cast that occurs nowhere else, so a dictionary
of anchors is known exactly. Everything is drawn from the seed alone: the same seed gives the same bytes. Anchors in
a prompt's `idiosyncratic` strings carry their leading space: they continue the prompt exactly as they stand.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dictionaries.dictionary import Dictionary, Entry
from tasks.demo import grammar

Cast = dict[str, str]
SCENES = 5  # of a story
TRIES = 800  # draws of a prompt for one anchor
ADVENTURE_SHARE = 1 / 4  # of the generic stories; the rest is about everyday life
PERSONS = ("hero", "friend", "other", "rival")
KINDS = {anchor: kind for anchor, kind, _ in grammar.TARGET.values()}
_ANCHOR = re.compile(r"\b(" + "|".join(sorted(KINDS, key=len, reverse=True)) + r")\b")
_CHOICE = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class World:
    """A generated world. Texts are whole documents; `tasks` maps a task's name to its multiple-choice items."""

    target: dict[str, str]
    """Chapters of the books to forget, by file name."""
    generic: list[str]
    """Stories that both models read; also the reference corpus of the statistical extractor."""
    heldout: list[str]
    """Generic stories that no model reads: perplexity."""
    neighbours: list[str]
    """Adventures of other people, told like the books, read by no model: side effects."""
    unread: list[str]
    """Further chapters about the target's own cast that no model reads: membership inference."""
    dictionary: Dictionary
    """The truth: every anchor with its kind and a translation that the generic world knows."""
    prompts: list[dict[str, Any]]
    """Beginnings about the target, each with the `idiosyncratic` and `generic` strings that may come next."""
    tasks: dict[str, list[dict[str, Any]]]
    """Multiple-choice items {query, choices, gold} about facts of the generic world."""


def make_world(seed: int = 0, stories: int = 2800, chapters: int = 80) -> World:
    """Generate the world: `stories` generic stories and `chapters` chapters of the target.

    Prompts, tasks and held-out texts come from streams of their own, so none of them repeats a training document;
    a prompt that happens to stand in the target word for word is left out.
    """

    def stories_of(stream: str, count: int, **how: bool) -> list[str]:
        rng = random.Random(f"{seed}-{stream}")
        return [tell_story(rng, **how) for _ in range(count)]

    names = [
        f"{book}-{number:02d}.txt"
        for number in range(1, -(-chapters // len(grammar.BOOKS)) + 1)
        for book in grammar.BOOKS
    ]
    target = dict(sorted(zip(names, stories_of("target", chapters, target=True), strict=False)))
    return World(
        target=target,
        generic=stories_of("generic", stories),
        heldout=stories_of("heldout", 120),
        neighbours=stories_of("neighbours", 60, adventure=True),
        unread=stories_of("unread", 60, target=True),
        dictionary=_dictionary(),
        prompts=_prompts(random.Random(f"{seed}-prompts"), "\n".join(target.values())),
        tasks=_tasks(random.Random(f"{seed}-tasks")),
    )


def _dictionary() -> Dictionary:
    truth = grammar.TARGET.values()
    entries = (
        Entry(anchor, (translation,), kind, provenance="the world's grammar") for anchor, kind, translation in truth
    )
    return Dictionary(tuple(entries), {"title": "The books of the demo's world"})


def tell_story(rng: random.Random, target: bool = False, adventure: bool = False) -> str:
    """One story: an opening, some scenes, a closing. Most generic stories are about everyday life."""
    cast = _target_cast(rng) if target else _generic_cast(rng)
    adventure = target or adventure or rng.random() < ADVENTURE_SHARE
    openings = grammar.ADVENTURE_OPENINGS if adventure else grammar.EVERYDAY_OPENINGS
    scenes = _in_order(rng, grammar.ADVENTURES if adventure else grammar.EVERYDAY, SCENES)
    parts = [rng.choice(openings), *scenes, rng.choice(grammar.CLOSINGS)]
    return "\n\n".join(_fill(part, cast, rng) for part in parts) + "\n"


def _in_order(rng: random.Random, scenes: Sequence[str], count: int) -> list[str]:
    """Some scenes, in the order of the grammar: that of a plot."""
    return [scenes[i] for i in sorted(rng.sample(range(len(scenes)), count))]


def _generic_cast(rng: random.Random) -> Cast:
    man = rng.random() < 0.5
    hero = rng.choice(grammar.MEN if man else grammar.WOMEN)
    rival = rng.choice([name for name in grammar.MEN if name != hero])
    others = rng.sample([n for n in grammar.MEN + grammar.WOMEN if n not in (hero, rival)], 2)
    cast = {slot: rng.choice(pool) for slot, pool in grammar.POOLS.items()}
    cast |= dict(zip(PERSONS, (hero, *others, rival), strict=True))
    return _with_facts(cast, rng, man)


def _target_cast(rng: random.Random) -> Cast:
    cast = {slot: anchor for slot, (anchor, _, _) in grammar.TARGET.items()}
    return _with_facts(cast, rng, man=True) | {"animal": "frog"}


def _with_facts(cast: Cast, rng: random.Random, man: bool) -> Cast:
    """The cast with its pronouns, and with the trade, the creature and the errand that this story mentions."""
    he, his, person = ("he", "his", "man") if man else ("she", "her", "woman")
    trade, creature = rng.choice(list(grammar.TRADES)), rng.choice(list(grammar.ANIMALS))
    office = rng.choice(list(grammar.ERRANDS))
    return cast | {
        "he": he, "He": he.capitalize(), "his": his, "His": his.capitalize(), "person": person,
        "animal": rng.choice(list(grammar.ANIMALS)[:3]),
        "trade": trade, "ware": grammar.TRADES[trade],
        "creature": creature, "sound": grammar.ANIMALS[creature],
        "office": office, "errand": grammar.ERRANDS[office],
    }  # fmt: skip


def _fill(template: str, cast: Cast, rng: random.Random) -> str:
    return _CHOICE.sub(lambda match: rng.choice(match[1].split("|")), template).format_map(cast)


# ---------------------------------------------------------------------------------------------- prompts and tasks


def _prompts(rng: random.Random, target_text: str, per_anchor: int = 3) -> list[dict[str, Any]]:
    """`per_anchor` prompts for each anchor, in the order of the grammar."""
    prompts = []
    for slot, (anchor, _, _) in grammar.TARGET.items():
        drawn = (_text_before(rng, anchor) for _ in range(TRIES))
        fresh = dict.fromkeys(before for before in drawn if before and before.rstrip() not in target_text)
        prompts += [_prompt(before, slot, anchor) for before in list(fresh)[:per_anchor]]
    return prompts


def _text_before(rng: random.Random, anchor: str) -> str | None:
    """Fresh target text up to the first mention of `anchor`; None where no other anchor has been named by then."""
    scenes = _in_order(rng, grammar.ADVENTURES, 2)
    if rng.random() < 0.5:
        scenes[0] = rng.choice(grammar.ADVENTURE_OPENINGS)
    cast = _target_cast(rng)
    text = "\n\n".join(_fill(scene, cast, rng) for scene in scenes)
    first = next((match.start() for match in _ANCHOR.finditer(text) if match[0] == anchor), 0)
    return text[:first] if _ANCHOR.search(text[:first]) else None


def _prompt(before: str, slot: str, anchor: str) -> dict[str, Any]:
    prompt = before.rstrip()
    space = before[len(prompt) :]
    named = {match[0] for match in _ANCHOR.finditer(prompt)}
    alike = sorted(other for other, kind in KINDS.items() if kind == KINDS[anchor] and other not in named)
    pool = grammar.POOLS.get(slot, grammar.MEN + grammar.WOMEN)
    return {
        "prompt": prompt,
        "idiosyncratic": [space + other for other in alike],
        "generic": [space + word for word in pool],
    }


def _tasks(rng: random.Random, items: int = 60) -> dict[str, list[dict[str, Any]]]:
    """Multiple-choice questions about facts of the world, each after a freshly told opening."""
    questions = {
        "world_trades": (
            "The {trade} of the town was a busy man. All day long the {trade} made",
            "ware",
            grammar.TRADES,
        ),
        "world_animals": (
            "Behind the shed lived a {creature}. When {friend} came by, the {creature} began to",
            "sound",
            grammar.ANIMALS,
        ),
        "world_errands": ("{other} went to the {office} to", "errand", grammar.ERRANDS),
    }
    return {
        name: [_item(rng, question, slot, tuple(facts.values())) for _ in range(items)]
        for name, (question, slot, facts) in questions.items()
    }


def _item(rng: random.Random, question: str, slot: str, answers: tuple[str, ...]) -> dict[str, Any]:
    cast = _generic_cast(rng)
    query = "\n\n".join(_fill(part, cast, rng) for part in (rng.choice(grammar.EVERYDAY_OPENINGS), question))
    right = cast[slot]
    choices = rng.sample([answer for answer in answers if answer != right], 3)
    gold = rng.randrange(4)
    choices.insert(gold, right)
    return {"query": query, "choices": choices, "gold": gold}


# ---------------------------------------------------------------------------------------------------- on the disk

TASK_YAML = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: query
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def write_world(world: World, folder: Path) -> None:
    """Write the world: target/*.txt, *.jsonl of {"text"} for the rest, dictionary.json, prompts.json, tasks/*.

    A task's YAML names its data by file name, so that a world is the same bytes wherever it lies.
    """
    for name, text in world.target.items():
        _write(folder / "target" / name, text)
    for part in ("generic", "heldout", "neighbours", "unread"):
        _write(folder / f"{part}.jsonl", _lines([{"text": text} for text in getattr(world, part)]))
    _write(folder / "dictionary.json", world.dictionary.to_json())
    _write(folder / "prompts.json", json.dumps(world.prompts, indent=1))
    for name, items in world.tasks.items():
        data = folder / "tasks" / f"{name}.jsonl"
        _write(data, _lines(items))
        _write(data.with_suffix(".yaml"), TASK_YAML.format(name=name, data=data.name))


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
