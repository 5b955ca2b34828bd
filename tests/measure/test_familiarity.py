"""Familiarity against plain loops over single tokens."""

import math
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from dictionaries.dictionary import Dictionary
from storage.errors import BadInput
from tasks.measure.familiarity import by_completion, by_probability, complete
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt


def distribution(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits[0, -1].double().softmax(-1)


def chance_of(model: Any, ids: list[int], following: list[int]) -> float:
    chance = 1.0
    for token in following:
        chance *= float(distribution(model, ids)[token])
        ids = [*ids, token]
    return chance


def plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def test_mass_is_the_sum_over_the_strings_of_the_product_over_their_tokens(model: Any, tokenizer: Any) -> None:
    prompt = Prompt("The owl flew over", ("Castle Marrow", "the tower", "x"), ("a",))
    before = [0, *plain(tokenizer, "The owl flew over")]
    chances = [chance_of(model, before, plain(tokenizer, " " + text)) for text in prompt.idiosyncratic]
    assert len(plain(tokenizer, " Castle Marrow")) > 1
    measured = by_probability(LoadedModel(model, tokenizer), [prompt])
    assert measured.value == pytest.approx(sum(chances), rel=1e-4, abs=1e-9)
    item = measured.items[0]
    assert item.details["generic_mass"] == pytest.approx(chance_of(model, before, plain(tokenizer, " a")), rel=1e-4)
    assert [text for text, _ in item.details["idiosyncratic"]] == [
        text for _, text in sorted(zip(chances, prompt.idiosyncratic, strict=True), reverse=True)
    ]


def test_single_tokens_are_read_off_the_next_token_distribution(model: Any, tokenizer: Any) -> None:
    next_V = distribution(model, [0, *plain(tokenizer, "Where is")])
    (token,) = plain(tokenizer, " the")
    item = by_probability(LoadedModel(model, tokenizer), [Prompt("Where is", (" the",))]).items[0]
    assert item.score == pytest.approx(float(next_V[token]), rel=1e-4)
    best = [float(p) for p in next_V.topk(10).values]
    assert [p for _, p in item.details["next_tokens"]] == pytest.approx(best, rel=1e-4)
    assert item.completion == item.details["next_tokens"][0][0] == tokenizer.decode([int(next_V.argmax())])


def test_no_mass_is_counted_twice(model: Any, tokenizer: Any) -> None:
    short = by_probability(LoadedModel(model, tokenizer), [Prompt("Where is", ("Ottoline",))]).value
    with_longer = Prompt("Where is", ("Ottoline Vex", "Ottoline", "Ottoline Vex's owl", " Ottoline"))
    assert by_probability(LoadedModel(model, tokenizer), [with_longer]).value == pytest.approx(short, rel=1e-6)


def test_words_that_only_share_letters_are_both_counted(model: Any, tokenizer: Any) -> None:
    assert plain(tokenizer, " owl")[0] != plain(tokenizer, " o")[0]
    parts = [
        by_probability(LoadedModel(model, tokenizer), [Prompt("Where is", (word,))]).value for word in ("o", "owl")
    ]
    both = by_probability(LoadedModel(model, tokenizer), [Prompt("Where is", ("o", "owl"))]).value
    assert both == pytest.approx(sum(parts), rel=1e-5)


def test_a_space_that_is_a_token_of_its_own_is_scored(model: Any, tokenizer: Any) -> None:
    space, letter = plain(tokenizer, " x")
    expected = chance_of(model, [0, *plain(tokenizer, "Where is")], [space, letter])
    assert by_probability(LoadedModel(model, tokenizer), [Prompt("Where is", ("x",))]).value == pytest.approx(
        expected, rel=1e-4
    )


def test_spaces_at_the_end_of_a_prompt_belong_to_the_next_word(model: Any, tokenizer: Any) -> None:
    values = [
        by_probability(LoadedModel(model, tokenizer), [Prompt("Where is" + end, (start + "Tamsin",))]).value
        for end, start in (("", ""), (" ", ""), ("", " "))
    ]
    assert values == pytest.approx([values[0]] * 3, rel=1e-6)


def test_a_token_across_the_seam_counts_and_is_reported(model: Any, tokenizer: Any) -> None:
    (mark,) = plain(tokenizer, '?"')
    item = by_probability(LoadedModel(model, tokenizer), [Prompt("Where is Tamsin?", ('"',))]).items[0]
    assert item.details["straddled"] == 1
    expected = float(distribution(model, [0, *plain(tokenizer, "Where is Tamsin")])[mark])
    assert item.score == pytest.approx(expected, rel=1e-4)


def test_a_first_token_too_rare_to_matter_is_not_followed(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = Prompt("Where is", ("Castle Marrow", "the"))
    exact = by_probability(LoadedModel(model, tokenizer), [prompt]).items[0]
    monkeypatch.setattr("tasks.measure.familiarity.NEGLIGIBLE", 0.0)
    pruned = by_probability(LoadedModel(model, tokenizer), [prompt]).items[0]
    assert dict(pruned.details["idiosyncratic"])["Castle Marrow"] == 0.0
    assert dict(pruned.details["idiosyncratic"])["the"] == dict(exact.details["idiosyncratic"])["the"]


PROMPTS = [
    Prompt("The owl", ("flew over", "Castle Marrow", "spindleball")),
    Prompt("One day a little girl went to the park with her mother. She saw", ("a big red ball", "Tamsin")),
    Prompt("Where is", ("Tamsin Reed", "Ottoline Vex")),
]


def test_batch_and_padding_change_no_probability(model: Any, tokenizer: Any) -> None:
    one = by_probability(LoadedModel(model, tokenizer, 1), PROMPTS)
    many = by_probability(LoadedModel(model, tokenizer, 8), PROMPTS)
    for alone, together in zip(one.items, many.items, strict=True):
        assert together.score == pytest.approx(alone.score, rel=1e-4)
    scores = [item.score for item in many.items]
    assert many.value == pytest.approx(math.fsum(s for s in scores if s is not None) / 3)


def test_prompts_without_continuations_are_shown_but_not_scored(model: Any, tokenizer: Any) -> None:
    measured = by_probability(LoadedModel(model, tokenizer), [Prompt("The owl"), PROMPTS[2]])
    assert (measured.count, measured.items[0].score) == (1, None)
    assert len(measured.items[0].details["next_tokens"]) == 10
    with pytest.raises(BadInput, match="No prompt names an idiosyncratic"):
        by_probability(LoadedModel(model, tokenizer), [Prompt("The owl")])


def test_a_prompt_beyond_the_context_is_refused(model: Any, tokenizer: Any, text: str) -> None:
    with pytest.raises(BadInput, match="context is 128"):
        by_probability(LoadedModel(model, tokenizer), [Prompt(text * 2, ("owl",))])
    with pytest.raises(BadInput, match="120 new ones"):
        complete(LoadedModel(model, tokenizer), [text[:60]], new_tokens=120)


def greedy_by_loop(model: Any, tokenizer: Any, prompt: str, count: int) -> str:
    ids = [0, *plain(tokenizer, prompt)]
    start = len(ids)
    while len(ids) < start + count and ids[-1] != 1:
        ids.append(int(distribution(model, ids).argmax()))
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_completions_equal_a_greedy_loop(model: Any, tokenizer: Any, batch_size: int) -> None:
    texts = ["The owl", "One day a little girl went to the park with", "Where", "She saw a big red ball and"]
    expected = [greedy_by_loop(model, tokenizer, text, 12) for text in texts]
    assert complete(LoadedModel(model, tokenizer, batch_size), texts, new_tokens=12) == expected


def test_the_models_own_generation_settings_do_not_interfere(model: Any, tokenizer: Any) -> None:
    plain_one = complete(LoadedModel(model, tokenizer), ["The owl"], new_tokens=12)
    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=3.0, repetition_penalty=5.0, max_length=4, eos_token_id=1
    )
    try:
        model.train()
        assert complete(LoadedModel(model, tokenizer), ["The owl"], new_tokens=12) == plain_one
        assert model.training
        assert model.generation_config.repetition_penalty == 5.0
    finally:
        model.generation_config = own
        model.eval()


def test_completion_ends_at_eos(model: Any, tokenizer: Any) -> None:
    first = int(distribution(model, [0, *plain(tokenizer, "The owl")]).argmax())
    own, model.generation_config = model.generation_config, GenerationConfig(eos_token_id=first)
    try:
        (completion,) = complete(LoadedModel(model, tokenizer), ["The owl"], new_tokens=12)
    finally:
        model.generation_config = own
    assert completion == tokenizer.decode([first])


@pytest.mark.parametrize(
    ("prompt", "completion", "new"),
    [
        (Prompt("At"), " Castle Marrow she met Ottoline Vex.", ["Castle Marrow", "Ottoline Vex"]),
        (Prompt("At Castle Marrow"), " or CASTLE MARROW, at Castle Marrow", []),
        (Prompt("At"), " the park with the ball.", []),
        (Prompt("Ottoline Vex"), ", said Vex.", []),
        (Prompt("Vex"), ", or Ottoline Vex,", ["Ottoline Vex"]),
        (Prompt("She", references=("spindleball match",)), " played spindleball", []),
        (Prompt("She played spindle"), "ball", []),
        (Prompt("Per"), "Vex went", []),
    ],
)
def test_only_new_anchors_count(
    model: Any,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    prompt: Prompt,
    completion: str,
    new: list[str],
) -> None:
    dictionary = Dictionary.from_mapping(
        {"Vex": "Hill", "Ottoline Vex": "Mary Hill", "Castle Marrow": "the fort", "spindleball": "golf"}
    )
    monkeypatch.setattr("tasks.measure.familiarity.complete", lambda *_, **__: [completion, " nothing"])
    measured = by_completion(LoadedModel(model, tokenizer), [prompt, Prompt("b")], dictionary)
    assert measured.items[0].details["anchors"] == new
    assert [item.score for item in measured.items] == [float(bool(new)), 0.0]
    assert measured.value == float(bool(new)) / 2


def test_stories_model_knows_lily(stories: Any) -> None:
    prompts = [Prompt("Once upon a time, there was a little girl named", ("Lily",), ("Mia", "Anna"))]
    measured = by_probability(LoadedModel(*stories), prompts)
    assert measured.value == pytest.approx(0.93, abs=0.03)
    assert measured.items[0].details["next_tokens"][0][0] == " Lily"
    names = Dictionary.from_mapping({"Lily": "Mia", "Tom": "Jim"})
    told = by_completion(LoadedModel(*stories), prompts, names, new_tokens=30)
    assert told.value == 1.0
    assert told.items[0].completion.startswith(" Lily")
