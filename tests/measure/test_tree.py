"""Trees of continuations against one sequence a continuation."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, MambaConfig, MistralConfig

from tasks.measure import tree
from tasks.measure.familiarity import by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt
from tasks.measure.scoring import measuring, token_log_probabilities
from tasks.measure.tree import continued_log_probabilities

CONTEXTS = [(5, 6, 7, 8), (9, 10)]
CONTINUATIONS = [(11,), (11, 12), (11, 12, 13, 14), (11, 12, 15), (16, 12, 13), (17, 18, 19, 20, 21), (11, 22)]
SHAPE = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2}
SMALL = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "learned positions": GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2),
    "rotary positions": MistralConfig(**SHAPE, **SMALL, sliding_window=None),
    "a window of attention": MistralConfig(**SHAPE, **SMALL, sliding_window=8),
    "a recurrent model": MambaConfig(**SHAPE),
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_tree_says_of_each_branch_what_its_own_sequence_says(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "NODES", 4)  # several trees, of two lengths
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture])
    pairs = [(context, continuation) for context in CONTEXTS for continuation in CONTINUATIONS]
    contexts, continuations = zip(*pairs, strict=True)
    with measuring(model):
        values = continued_log_probabilities(LoadedModel(model, None), contexts, continuations)
    rows = token_log_probabilities(LoadedModel(model, None), [context + ids for context, ids in pairs])
    expected = [float(row[len(context) :].double().sum()) for row, (context, _) in zip(rows, pairs, strict=True)]
    assert values == pytest.approx(expected, abs=1e-5)
    assert tree._TREES[model] == (architecture != "a recurrent model")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_of_half_the_bits_takes_trees_too(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["rotary positions"], dtype=dtype)
    with measuring(model):
        (value,) = continued_log_probabilities(LoadedModel(model, None), CONTEXTS[:1], [(11, 12, 13)])
    (row,) = token_log_probabilities(LoadedModel(model, None), [(*CONTEXTS[0], 11, 12, 13)])
    assert tree._TREES[model]
    assert value == pytest.approx(float(row[4:].sum()), abs=0.05)


def test_beginnings_are_read_once() -> None:
    (branches,) = tree._trees([CONTEXTS[0]] * len(CONTINUATIONS), CONTINUATIONS)
    assert branches.ids == [5, 6, 7, 8, 11, 11 + 1, 13, 16, 12, 17, 18, 19, 20]


def test_a_thousand_anchors_give_the_values_of_each_alone(model: Any, tokenizer: Any) -> None:
    names = tuple(
        f"{first} {last}" for first in ("Castle", "Tamsin", "x") for last in ("Marrow", "Reed", "y", "owl", "the")
    )
    more = tuple(f"{name} {number}" for name in names for number in range(4))
    prompt = "One day a little girl went to the park with her mother. She saw"
    together = by_probability(LoadedModel(model, tokenizer), [Prompt(prompt, more)]).items[0]
    alone = [by_probability(LoadedModel(model, tokenizer), [Prompt(prompt, (name,))]).value for name in more]
    assert together.score == pytest.approx(sum(alone), rel=1e-4)


def test_a_tokenizer_whose_tokens_depend_on_the_whole_prompt_reads_it_whole(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.measure import familiarity

    prompt, texts = "Where is the owl?", tuple(f'"{number} x' for number in range(40))
    assert len(familiarity._splits(tokenizer, prompt, ['"0 x'])[0][0]) > 3
    monkeypatch.setattr(familiarity, "TAIL_WORDS", 2)
    expected = familiarity._splits(tokenizer, prompt, texts)
    assert familiarity._tokenised_behind(tokenizer, prompt, texts) == expected
    assert expected[0][2] == 1, "a token across the seam"
    texts = (*texts[:20], "x", *texts[20:])  # one that no probe shows
    assert familiarity._tokenised_behind(tokenizer, prompt, texts) == familiarity._splits(tokenizer, prompt, texts)
