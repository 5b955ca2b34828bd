"""Real tokenizers and models for the method's tests, and `encode` as the blocks stage provides it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tasks.method.tokens import Tokens
from tasks.method.translation import Encode

MATERIAL = Path(__file__).parents[3] / "shared" / "material"
SAMPLE = (
    "Harry said, “hello” — to Ron. Zoé's owl went to the castle; Hermione\u2019s book was on the table. "
    "Jon and Tom flew to the Mystic Academy. The Fortune Elixir, they said, was (too) strong for him.\n"
    "Susan, Max and the Straw Boy saw Texas with Susan, Max, a Straw man, a Metal man, Metal, Texas, Susan.\n"
)


@pytest.fixture(scope="session")
def stories_path() -> Path:
    path = MATERIAL / "models" / "stories260K"
    if not path.exists():
        pytest.skip("the pretrained model stories260K of ../shared/material is not here")
    return path


@pytest.fixture(scope="session")
def sentencepiece(stories_path: Path) -> Tokenizer:
    """Spaces as ▁, one before the document too, and bytes for characters that the vocabulary lacks."""
    return Tokenizer.from_file(str(stories_path / "tokenizer.json"))


@pytest.fixture(scope="session")
def byte_level() -> Tokenizer:
    """Small enough that many characters are split over tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SAMPLE] * 20, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def read() -> Callable[[Tokenizer, str], Tokens]:
    """A document's tokens."""

    def read(tokenizer: Tokenizer, text: str) -> Tokens:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return Tokens.from_offsets(encoding.ids, encoding.offsets)

    return read


@pytest.fixture(scope="session")
def encoder(read: Callable[[Tokenizer, str], Tokens]) -> Callable[[Tokenizer], Encode]:
    """encode(left, text) of a tokenizer."""

    def encoder(tokenizer: Tokenizer) -> Encode:
        def encode(left: str, text: str) -> Tokens:
            for context in (left, "\n", "a"):
                tokens = read(tokenizer, context + text).after(len(context)) if left else read(tokenizer, text)
                if tokens is not None:
                    return tokens
            raise AssertionError(f"no context in which {text!r} stands alone")

        return encode

    return encoder
