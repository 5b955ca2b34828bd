"""What translating adds to tokenising: the blocks stage beside the tokenizer alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from dictionaries.dictionary import Dictionary
from tasks.blocks import BlockSettings, Translation
from tasks.method.tokens import cut_blocks

SENTENCE = "Mira Vance walked to the harbour of Tessaly and asked the ferryman for the silver oar of the Grimwater. "
NAMES = {"Mira Vance": "Anna Miller", "Mira": ["Anna", "Clara"], "Tessaly": "Newport", "Grimwater": "Long Lake"}


def test_blocks_beside_tokenising(
    tiny_model: Path, ratios: Callable[..., list[float]], record: Callable[..., None]
) -> None:
    """A name in every fourth word, more than any book has; a tokenizer of 400 tokens, so blocks are short texts."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    documents, names = [SENTENCE * 40] * 20, Dictionary.from_mapping(NAMES)

    def tokenise() -> None:
        for _ in cut_blocks(tokenizer, documents, 512):
            pass

    def translate() -> None:
        for _ in Translation(names, tokenizer, BlockSettings()).rows(documents, [None] * len(documents)):
            pass

    values = ratios(translate, tokenise)
    record("blocks", values, 2.5)
    print(f"\nblocks: {', '.join(f'{ratio:.1f}' for ratio in values)} times the tokenizer alone")
