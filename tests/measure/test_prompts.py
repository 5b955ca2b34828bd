"""Prompts: read from files, cut from passages."""

import json
from pathlib import Path
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary
from storage.errors import BadInput
from tasks.measure.prompts import Prompt, joined, mentions, prompts_from_corpus, read_prompts, with_anchors

FILL = "It was a long and quiet evening and nobody in the whole village had anything to do until "
DICTIONARY = Dictionary.from_mapping(
    {"Vex": "Hill", "Ottoline Vex": ["Mary Hill", "Jane Hill"], "Castle Marrow": "the fort", "spindleball": "golf"}
)


def written(folder: Path, value: Any) -> Path:
    path = folder / "prompts.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_our_form_is_read_whole(tmp_path: Path) -> None:
    entry = {"prompt": "P", "idiosyncratic": ["a", "b", "a"], "generic": ["c"], "references": ["d"]}
    assert read_prompts(written(tmp_path, [entry])) == [Prompt("P", ("a", "b"), ("c",), ("d",))]


def test_the_released_files_are_read_as_they_are(material: Path) -> None:
    by_probability = read_prompts(material / "prompts" / "probability_prompts.json")
    by_completion = read_prompts(material / "prompts" / "evaluation_prompts_short.json")
    assert (len(by_probability), len(by_completion)) == (37, 20)
    assert by_probability[0] == Prompt("Harry Potter is a")
    assert by_completion[0].references == ("Ron", "Hermione", "wand")
    assert by_completion[0].prompt.startswith("Ron and Hermione were practicing")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"prompt": "fine"}, {"prompt": 3}], "entry 1: expected an object whose 'prompt' is a text"),
        ([{"prompt": " "}], "entry 0"),
        (["text"], "entry 0"),
        ([{"prompt": "a", "idiosyncratic": "magic"}], "'idiosyncratic' must be a list"),
        ([{"prompt": "a", "references": ["", "b"]}], "'references' must be a list"),
        ([{"prompt": "a", "answers": ["b"]}], "unknown key 'answers'"),
        ({"prompt": "a"}, "must hold a list"),
        ([], "must hold a list"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        read_prompts(written(tmp_path, value))
    assert "prompts.json" in str(error.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_bytes(b'[{"prompt": "\xff"}]')
    for name in ("prompts.json", "missing.json"):
        with pytest.raises(BadInput, match=name):
            read_prompts(tmp_path / name)


@pytest.mark.parametrize(
    ("prompt", "continuation", "whole"),
    [
        ("studies", "magic", "studies magic"),
        ("studies ", "magic", "studies magic"),
        ("studies", " magic", "studies magic"),
        ("include: 1.", "Hogwarts", "include: 1. Hogwarts"),
        ('called "', "Fluffy", 'called "Fluffy'),
        ("Harry", "'s", "Harry's"),
        ("half-", "blood", "half-blood"),
    ],
)
def test_a_space_is_put_where_words_would_run_together(prompt: str, continuation: str, whole: str) -> None:
    assert joined(prompt, continuation) == whole


def test_mentions_are_whole_words_in_any_case_and_the_last_counts() -> None:
    assert mentions("Alas, poor All", "Al") is None
    assert mentions("castle\nmarrow", "Castle Marrow") is not None
    found = mentions("Vex saw VEX's dog", "Vex")
    assert found is not None
    assert found.start() == 8
    assert mentions("anything", " ") is None
    assert mentions("the owl\u2019s _Vex_", "owl's Vex") is None
    assert mentions("the owl\u2019s _Vex_", "Owl's") is not None
    assert mentions("the owl\u2019s _Vex_", "Vex") is not None


def test_prompts_without_continuations_get_the_anchors_that_they_do_not_say() -> None:
    given, filled = with_anchors([Prompt("a", ("b",)), Prompt("Ottoline Vex lives in")], DICTIONARY)
    assert given == Prompt("a", ("b",))
    assert filled.idiosyncratic == ("Castle Marrow", "spindleball")


def test_a_passage_is_cut_right_before_the_anchor() -> None:
    (prompt,) = prompts_from_corpus([FILL + "Ottoline Vex came."], DICTIONARY, 10)
    assert prompt == Prompt(FILL.strip(), (" Ottoline Vex",), (" Mary Hill", " Jane Hill"))


def test_the_passage_begins_after_an_earlier_mention() -> None:
    document = "At last spindleball! " + FILL + "spindleball began."
    prompts = prompts_from_corpus([document], DICTIONARY, 10)
    assert [prompt.idiosyncratic for prompt in prompts] == [(" spindleball",)]
    assert mentions(prompts[0].prompt, "spindleball") is None


def test_an_anchor_inside_a_longer_one_counts_as_said() -> None:
    prompts = prompts_from_corpus(["Here is Ottoline Vex. " + FILL + "Vex came."], DICTIONARY, 10)
    assert [mentions(prompt.prompt, "Vex") for prompt in prompts] == [None]


def test_long_passages_start_at_a_word() -> None:
    (prompt,) = prompts_from_corpus([FILL * 5 + "Castle Marrow"], DICTIONARY, 1, context_characters=100)
    assert 60 <= len(prompt.prompt) <= 100
    assert set(prompt.prompt.split()) <= set(FILL.split())


@pytest.mark.parametrize("document", ["Vex came.", FILL.strip() + "\nVex came.", FILL + "Castle\nMarrow fell."])
def test_no_prompt_where_the_passage_is_short_or_a_line_breaks(document: str) -> None:
    with pytest.raises(BadInput, match="No prompt can be cut"):
        prompts_from_corpus([document], DICTIONARY, 5)


def test_documents_and_anchors_take_turns() -> None:
    busy = "".join(f"{number} {FILL}Ottoline Vex. {number}: {FILL}spindleball. " for number in range(20))
    documents = [busy, f"A {FILL}Ottoline Vex.", f"B {FILL}spindleball.", f"C {FILL}Ottoline Vex."]
    prompts = prompts_from_corpus(documents, DICTIONARY, 6, context_characters=120)
    said = [prompt.idiosyncratic[0].strip() for prompt in prompts]
    assert said.count("Ottoline Vex") == said.count("spindleball") == 3
    used = [next(n for n, document in enumerate(documents) if prompt.prompt in document) for prompt in prompts]
    assert set(used) == {0, 1, 2, 3}


def test_the_same_seed_cuts_the_same_prompts() -> None:
    documents = [f"{number} {FILL}{anchor}." for number in range(9) for anchor in ("Vex", "spindleball")]
    first = prompts_from_corpus(documents, DICTIONARY, 5, seed=1)
    assert first == prompts_from_corpus(documents, DICTIONARY, 5, seed=1)
    assert first != prompts_from_corpus(documents, DICTIONARY, 5, seed=2)
    assert len({prompt.prompt for prompt in first}) == 5


def test_a_book_gives_as_many_as_asked(material: Path) -> None:
    book = (material / "books" / "01_wonderful_wizard_of_oz.txt").read_text(encoding="utf-8")
    oz = Dictionary.from_mapping(dict.fromkeys(["Dorothy", "Toto", "Scarecrow", "Emerald City", "Munchkins"], "x"))
    prompts = prompts_from_corpus([book], oz, 60)
    assert len(prompts) == 60
    for prompt in prompts:
        assert prompt.prompt + prompt.idiosyncratic[0] in book
        assert mentions(prompt.prompt, prompt.idiosyncratic[0]) is None
