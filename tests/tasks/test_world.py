"""The demo's world: seeded, whole, and true to what it says of itself."""

import json
import random
import re
from pathlib import Path

import pytest

from dictionaries.dictionary import KINDS, Dictionary
from dictionaries.matching import Matcher
from tasks.demo import grammar
from tasks.demo.world import World, make_world, tell_story, write_world

SCENES = (
    grammar.EVERYDAY_OPENINGS + grammar.EVERYDAY + grammar.ADVENTURE_OPENINGS + grammar.ADVENTURES + grammar.CLOSINGS
)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(seed=3, stories=300, chapters=40)


def anchors_in(world: World, text: str) -> set[str]:
    return {world.dictionary.entries[match.entry].anchor for match in Matcher(world.dictionary).find(text)}


def generic_text(world: World) -> str:
    items = [item for items in world.tasks.values() for item in items]
    return "\n".join([*world.generic, *world.heldout, *world.neighbours, json.dumps(items)])


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world: World) -> None:
    assert make_world(seed=3, stories=300, chapters=40) == world
    assert make_world(seed=4, stories=300, chapters=40).generic != world.generic


def test_no_template_mark_is_left_in_any_text(world: World) -> None:
    text = generic_text(world).replace(json.dumps(None), "") + "\n".join(world.target.values())
    assert not re.search(r"\{\w*\}|\|", text)


def test_every_anchor_occurs_in_the_target_and_none_in_the_generic_texts(world: World) -> None:
    every = {entry.anchor for entry in world.dictionary.entries}
    assert anchors_in(world, "\n".join(world.target.values())) == every
    assert not anchors_in(world, generic_text(world))


def test_every_translation_is_a_word_of_the_generic_adventures(world: World) -> None:
    text = "\n".join(story for story in make_world(seed=3, stories=2000, chapters=5).generic)
    translations = [entry.translations[0] for entry in world.dictionary.entries]
    assert [one for one in translations if not re.search(rf"\b{re.escape(one)}\b", text)] == []
    assert len(set(translations)) == len(translations)


def test_the_truth_has_none_of_the_dictionarys_hazards(world: World) -> None:
    """No anchor within another or within a translation, no two translations that begin alike, known kinds."""
    anchors = [entry.anchor for entry in world.dictionary.entries]
    translations = [entry.translations[0] for entry in world.dictionary.entries]
    for anchor in anchors:
        others = [text for text in anchors + translations if text != anchor]
        assert not [text for text in others if re.search(rf"\b{re.escape(anchor)}\b", text)]
    assert len({text.split()[0] for text in translations}) == len(translations)
    assert {entry.kind for entry in world.dictionary.entries} == set(KINDS)


def test_training_texts_and_held_out_texts_are_different_documents(world: World) -> None:
    assert not set(world.generic) & set(world.heldout + world.neighbours)


def test_unread_chapters_are_of_the_target_s_kind_and_not_of_the_target(world: World) -> None:
    every = {entry.anchor for entry in world.dictionary.entries}
    assert anchors_in(world, "\n".join(world.unread)) == every
    assert all(anchors_in(world, chapter) for chapter in world.unread)
    assert not set(world.unread) & set(world.target.values())


def test_each_anchor_is_asked_for_by_a_prompt_that_does_not_name_it(world: World) -> None:
    for prompt in world.prompts:
        named = anchors_in(world, prompt["prompt"])
        assert named, "a prompt must point at the target"
        assert not named & {text.strip() for text in prompt["idiosyncratic"]}
        assert prompt["prompt"] == prompt["prompt"].rstrip()
    asked = {text.strip() for prompt in world.prompts for text in prompt["idiosyncratic"]}
    assert asked == {entry.anchor for entry in world.dictionary.entries}


def test_no_prompt_stands_word_for_word_in_the_target(world: World) -> None:
    target = "\n".join(world.target.values())
    assert not [prompt for prompt in world.prompts if prompt["prompt"] in target]


def test_multiple_choice_items_have_one_right_answer_by_the_worlds_facts(world: World) -> None:
    facts = {"world_trades": grammar.TRADES, "world_animals": grammar.ANIMALS, "world_errands": grammar.ERRANDS}
    assert world.tasks.keys() == facts.keys()
    for name, items in world.tasks.items():
        assert len({item["gold"] for item in items}) == 4, "the right answer's place must not give it away"
        for item in items:
            asked = [subject for subject in facts[name] if re.search(rf"\b{subject}\b", item["query"].split("\n\n")[1])]
            assert [facts[name][subject] for subject in asked] == [item["choices"][item["gold"]]]
            assert len(set(item["choices"])) == 4


@pytest.mark.parametrize("scene", SCENES)
def test_every_slot_of_a_scene_is_filled_for_both_casts(scene: str) -> None:
    slots = set(re.findall(r"\{(\w+)\}", scene))
    facts = {"he", "He", "his", "His", "person", "animal", "trade", "ware", "creature", "sound", "office", "errand"}
    persons = {"hero", "friend", "other", "rival"}
    assert slots <= facts | persons | grammar.POOLS.keys()
    if scene in grammar.ADVENTURE_OPENINGS + grammar.ADVENTURES + grammar.CLOSINGS:
        assert slots <= facts | grammar.TARGET.keys()


def test_a_target_chapter_is_a_generic_adventure_with_another_cast(world: World) -> None:
    """Its translation is made of words of the generic world only: that is what makes the dictionary good."""
    chapter = tell_story(random.Random(1), target=True)
    translated = chapter
    for entry in world.dictionary.entries:
        translated = translated.replace(entry.anchor, entry.translations[0])
    words = set(re.findall(r"\w+", "\n".join(make_world(seed=3, stories=3000, chapters=5).generic)))
    assert set(re.findall(r"\w+", translated)) <= words


def test_a_written_world_can_be_read_back(world: World, tmp_path: Path) -> None:
    write_world(world, tmp_path)
    assert Dictionary.read(tmp_path / "dictionary.json") == world.dictionary
    assert json.loads((tmp_path / "prompts.json").read_text()) == world.prompts
    assert {path.name: path.read_text() for path in (tmp_path / "target").iterdir()} == world.target
    for part, texts in {"heldout": world.heldout, "unread": world.unread}.items():
        lines = (tmp_path / f"{part}.jsonl").read_text().splitlines()
        assert [json.loads(line)["text"] for line in lines] == texts
    assert (tmp_path / "tasks" / "world_trades.yaml").read_text().startswith("task: world_trades\n")
