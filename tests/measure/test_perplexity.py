"""Perplexity against a loop over single tokens."""

import copy
import math
from typing import Any

import pytest
import torch
from tokenizers.processors import ByteLevel

from storage.errors import BadInput
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.measure.scoring import encode, measuring


def nats_by_loop(model: Any, ids: list[int], window: int, opening: int) -> list[float]:
    """-log p of every token but the first, each read from its own forward pass behind what opens the text."""
    nats, first, room = [], ids[:opening], window - opening
    for position in range(1, len(ids)):
        place = position - opening  # in the text
        start = opening + max(0, place - 1) // (room - 1) * (room - 1)
        with torch.no_grad():
            logits = model.eval()(torch.tensor([first + ids[start:position]])).logits[0, -1].double()
        nats.append(-float(logits.log_softmax(-1)[ids[position]]))
    return nats


@pytest.mark.parametrize("window", [3, 17, 128])
@pytest.mark.parametrize("opening", [0, 1])
def test_equals_a_loop_over_tokens(model: Any, tokenizer: Any, text: str, window: int, opening: int) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    if not opening:
        tokenizer.backend_tokenizer.post_processor = ByteLevel(trim_offsets=False)
    documents = [text[:150], text[150:230], "T"]
    ids = [[id for id in tokenizer(document).input_ids if id != tokenizer.eos_token_id] for document in documents]
    assert [row[:1] == [tokenizer.bos_token_id] for row in ids] == [bool(opening)] * 3
    nats = [value for row in ids for value in nats_by_loop(model, row, window, opening)]
    measured = perplexity(LoadedModel(model, tokenizer), documents, window=window)
    assert sum(item.details["tokens"] for item in measured.items) == len(nats)
    assert measured.value == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)


def test_batch_and_padding_change_nothing(model: Any, tokenizer: Any, text: str) -> None:
    documents = [text[:40], text, text[100:230]]
    one = perplexity(LoadedModel(model, tokenizer, 1), documents, window=32)
    many = perplexity(LoadedModel(model, tokenizer, 5), documents, window=32)
    assert [item.score for item in many.items] == pytest.approx([item.score for item in one.items], rel=1e-5)


def test_standard_error_shrinks_with_the_root_of_the_windows(model: Any, tokenizer: Any, text: str) -> None:
    once = perplexity(LoadedModel(model, tokenizer), [text], window=16)
    often = perplexity(LoadedModel(model, tokenizer), [text] * 16, window=16)
    assert often.value == pytest.approx(once.value, rel=1e-5)
    assert once.stderr is not None
    few, many = once.count, often.count
    bessel = math.sqrt(many / (many - 1)) / math.sqrt(few / (few - 1))
    assert often.stderr == pytest.approx(once.stderr / 4 * bessel, rel=1e-4)


def test_limit_spreads_the_windows_over_the_text(model: Any, tokenizer: Any, text: str) -> None:
    whole = perplexity(LoadedModel(model, tokenizer), [text, text], window=16)
    some = perplexity(LoadedModel(model, tokenizer), [text, text], window=16, limit=5)
    assert some.count == 5
    places = [(item.details["document"], item.details["first_token"]) for item in some.items]
    assert places[0] == (0, 0)
    last = whole.items[-1].details
    assert places[-1] == (last["document"], last["first_token"])
    assert len(set(places)) == 5


def test_items_show_their_own_text(model: Any, tokenizer: Any, text: str) -> None:
    measured = perplexity(LoadedModel(model, tokenizer), [text], window=8)
    assert "".join(item.prompt for item in measured.items[:2]).startswith("The owl flew")
    assert all(item.prompt in text for item in measured.items)


def test_text_without_two_tokens_or_a_bad_window_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(BadInput, match="no two tokens"):
        perplexity(LoadedModel(model, tokenizer), ["", ""])
    for window in (2, 129):
        with pytest.raises(BadInput, match="3 to 128"):
            perplexity(LoadedModel(model, tokenizer), ["The owl"], window=window)


def test_every_module_gets_its_own_mode_back(model: Any) -> None:
    model.train()
    model.lm_head.eval()
    with measuring(model):
        assert not model.model.training
        assert torch.is_inference_mode_enabled()
    assert model.training
    assert model.model.training
    assert not model.lm_head.training
    model.eval()


def test_an_eos_at_the_end_is_not_read(tokenizer: Any) -> None:
    assert tokenizer("The owl").input_ids[-1] == 1
    assert [row.ids[-1] != 1 for row in encode(tokenizer, ["The owl", "a"])] == [True, True]
    assert encode(tokenizer, [""])[0].ids == [0]


def test_stories_model_finds_stories_easier_than_an_encyclopaedia(stories: Any, material: Any) -> None:
    corpora = material / "corpora"
    tales = (corpora / "tinystories.txt").read_text(encoding="utf-8").split("<|endoftext|>")[:8]
    articles = [(corpora / "wikitext2_valid.txt").read_text(encoding="utf-8")[:8000]]
    easy, hard = (perplexity(LoadedModel(*stories), documents) for documents in (tales, articles))
    assert 2.5 < easy.value < 6  # per token of a vocabulary of 512
    assert hard.value > 5 * easy.value


@pytest.mark.parametrize(("context", "window"), [(64, 64), (131_072, 1024)])
def test_a_long_context_is_no_window_by_itself(
    model: Any, tokenizer: Any, text: str, context: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.measure.perplexity.context_length", lambda model: context)
    monkeypatch.setattr("tasks.measure.perplexity.token_statistics", zeros)
    items = perplexity(LoadedModel(model, tokenizer), [text]).items
    assert {item.details["window"] for item in items} == {window}
    assert max(item.details["tokens"] for item in items) <= window - 1


def zeros(_: Any, rows: list[list[int]], firsts: list[int], __: Any) -> list[torch.Tensor]:
    return [torch.zeros(len(ids) - first) for ids, first in zip(rows, firsts, strict=True)]
