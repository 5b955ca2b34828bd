"""Stage zero's tokenizer and models: ordinary Hugging Face directories, the same for the same seed."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tasks.demo.pretrain import PretrainSettings, pretrain, train_tokenizer
from tasks.demo.world import make_world

TINY = PretrainSettings(layers=1, width=32, context=32, batch=4, steps=30)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return make_world(stories=60, chapters=5).generic


@pytest.fixture(scope="module")
def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    return train_tokenizer(texts, 400)


@pytest.mark.parametrize(
    "text", ["Peter paid three pennies.\n\n", "  two  spaces", "caf\u00e9 \u2014 \U0001f438 frog", ""]
)
def test_tokenizer_gives_back_any_text_with_exact_offsets(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == text
    for (start, end), i in zip(offsets[1:], ids[1:], strict=True):
        piece = tokenizer.decode([i])
        assert "\ufffd" in piece or text[start:end] == piece


def test_saved_model_and_tokenizer_load_as_any_other(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], tmp_path: Path
) -> None:
    pretrain(tmp_path, tokenizer, texts, TINY)
    model, loaded = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    assert loaded(texts[0])["input_ids"] == tokenizer(texts[0])["input_ids"]
    assert (loaded.bos_token, loaded.eos_token) == ("<s>", "</s>")
    assert model(torch.tensor([loaded("Peter")["input_ids"]])).logits.shape[-1] == len(loaded)
    assert (tmp_path / "model.safetensors").exists()


def test_training_learns_reports_progress_and_repeats_itself(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    for name in ("one", "two"):
        pretrain(tmp_path / name, tokenizer, texts, TINY, lambda done, total: calls.append((done, total)))
    assert calls == [(step, 30) for step in range(1, 31)] * 2
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("one", "two"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    ids = torch.tensor([tokenizer(texts[0])["input_ids"][:32]])
    untrained = torch.log(torch.tensor(float(len(tokenizer))))
    assert one(ids, labels=ids).loss < untrained - 0.5
