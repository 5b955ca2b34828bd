"""How good the statistical extractor is: against the truth of the demo's world, and what it finds in a novel."""

import json
import re
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from dictionaries.answers import read_answer
from dictionaries.dictionary import Dictionary, canonical
from dictionaries.english import table
from dictionaries.lint import lint
from dictionaries.matching import Matcher
from dictionaries.pools import pool_names
from dictionaries.spelling import LETTER, spelled
from dictionaries.statistics import Extraction, extract
from tasks.demo.world import make_world

HAND_LISTS = tomllib.loads((Path(__file__).parents[1] / "dictionaries" / "hand_lists.toml").read_text("utf-8"))


def measured(found: Iterable[str], truth: Iterable[str]) -> str:
    """Precision and recall, with what was missed and what was found besides."""
    found, truth = set(found), set(truth)
    both = found & truth
    return (
        f"precision {len(both) / max(1, len(found)):.3f}, recall {len(both) / len(truth):.3f} "
        f"({len(truth)} true, {len(found)} found); missed: {', '.join(sorted(truth - found)) or 'none'}; "
        f"besides: {', '.join(sorted(found - truth)) or 'none'}"
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("reference", [0, 50, 2800])
def test_the_world_s_anchors(seed: int, reference: int) -> None:
    world = make_world(seed)
    truth = [entry.anchor for entry in world.dictionary.entries]
    extraction = extract(world.target.values(), world.generic[:reference])
    found = [entry.anchor for entry in extraction.dictionary.entries]
    print(f"\nworld {seed}, {reference} stories as reference: {measured(found, truth)}")


FITTING = {
    "name": {"female", "male", "neutral", "family"},
    "animal": {"animal"},
    "title": {"lord", "lady"},
    "role": {"role", "lord", "lady"},
    "people": {"people"},
    "place": {"place", "site", "region"},
    "thing": {"thing", "term"},
    "term": {"term", "thing"},
    "phrase": {"thing"},
    "person": {"female", "male", "neutral", "family", "role", "animal"},
}


def fitting(extraction: Extraction, kinds: Mapping[str, str]) -> str:
    """How many true anchors have a translation of their own kind, by the pool that its head was drawn from."""
    misfits, both = [], 0
    for entry in extraction.dictionary.entries:
        if entry.anchor in kinds:
            both += 1
            heads = heads_of(entry.translations[0])
            drawn = {pool for pool in table("pools") if heads.intersection(map(str.lower, pool_names(pool)))}
            if not drawn & FITTING[kinds[entry.anchor]]:
                misfits.append(f"{entry.anchor} -> {entry.translations[0]}")
    return f"kinds fit {both - len(misfits)} of {both}; misfits: {', '.join(misfits) or 'none'}"


def heads_of(translation: str) -> set[str]:
    """The last word before "of", as it is and without the plural: Brisk Otters of the Fens -> otters, otter."""
    word = translation.split(" of ")[0].split()[-1].lower()
    return {word, word.removesuffix("s"), re.sub("men$", "man", word)}


@pytest.mark.parametrize("book", [*HAND_LISTS, "the demo's world"])
def test_three_books_against_lists_made_by_hand(material: Path, book: str) -> None:
    world = make_world(0)
    names = ("tinystories.txt", "wikitext2_valid.txt")
    reference = [(material / "corpora" / name).read_text("utf-8") for name in names]
    if book in HAND_LISTS:
        texts = [(material / "books" / f"{book}.txt").read_text("utf-8")]
        kinds = {name: kind for kind, names in HAND_LISTS[book].items() for name in names.split("|")}
    else:
        texts, reference = list(world.target.values()), world.generic[:2800]
        kinds = {entry.anchor: entry.kind or "thing" for entry in world.dictionary.entries}
    for name, others in (("no reference", []), ("with a reference", reference)):
        extraction = extract(texts, others)
        found = [entry.anchor for entry in extraction.dictionary.entries]
        present = [anchor for anchor in kinds if any(anchor in text for text in texts)]
        print(f"\n{book}, {name}: {measured(found, present)}\n  {fitting(extraction, kinds)}")


def test_the_oz_book(material: Path) -> None:
    book = (material / "books" / "01_wonderful_wizard_of_oz.txt").read_text("utf-8")
    other = (material / "books" / "alice_in_wonderland.txt").read_text("utf-8")
    stories = (material / "corpora" / "tinystories.txt").read_text("utf-8")
    for name, reference in (("no reference", []), ("tinystories and Alice", [stories, other])):
        extraction = extract([book], reference)
        print(f"\nOz, {name}: {len(extraction.dictionary)} anchors")
        print("; ".join(f"{e.anchor} -> {e.translations[0]} ({e.kind})" for e in extraction.dictionary.entries))
        print("left out:", "; ".join(f"{what} ({why})" for what, why in extraction.left_out[:40]))
        for finding in lint(extraction.dictionary, [book]):
            print(f"lint, {finding.severity}: {finding.rule} {finding.count}: {'; '.join(finding.examples[:3])}")


def test_matching_twelve_million_characters_of_english(material: Path) -> None:
    """Seconds with 1,676 anchors, against one expression of all anchors in exact case, as it was before languages."""
    lines = (material / "dictionaries" / "llm_answers.jsonl").read_text("utf-8").splitlines()
    answers = [read_answer(json.loads(line)) for line in lines]
    anchors = {canonical(p.anchor) for answer in answers if answer.reason is None for p in answer.proposals}
    files = ("corpora/tinystories.txt", "corpora/wikitext2_valid.txt", "books/01_wonderful_wizard_of_oz.txt")
    text = ("\n".join((material / file).read_text("utf-8") for file in files) * 6)[:12_000_000]
    exact = re.compile(f"(?<!{LETTER})(?:{_branches(sorted(anchors))})")
    matcher = Matcher(Dictionary.from_mapping(dict.fromkeys(anchors, "t")))
    matcher.find(text[:1000])
    seconds: dict[str, list[float]] = {"exact": [], "all": []}
    for turn in range(3):
        read = text + "." * turn  # a text that was just read is remembered
        for name, find in (
            ("exact", lambda read=read: list(exact.finditer(read))),
            ("all", lambda read=read: matcher.find(read)),
        ):
            started = time.process_time()
            find()
            seconds[name].append(time.process_time() - started)
    old, new = min(seconds["exact"]), min(seconds["all"])
    print(f"\n{len(anchors)} anchors, 12 MB: exact case {old:.2f} s, all spellings {new:.2f} s, {new / old:.2f} times")


def _branches(anchors: list[str], cuts: tuple[int, ...] = (1, 3), done: int = 0) -> str:
    if not cuts:
        return "|".join(spelled(anchor[done:]) + f"(?!{LETTER})" for anchor in sorted(anchors, key=len, reverse=True))
    groups = defaultdict(list)
    for anchor in anchors:
        groups[anchor[done : cuts[0]]].append(anchor)
    keys = sorted(groups, key=len, reverse=True)
    return "|".join(f"{spelled(key)}(?:{_branches(groups[key], cuts[1:], cuts[0])})" for key in keys)
