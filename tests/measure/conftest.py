"""A byte-level BPE tokenizer and a random Llama, made on the spot; the real stories260K where the material is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    logging,
)

MATERIAL = Path(__file__).parents[2] / ".." / "shared" / "material"
TEXT = """The owl flew over Castle Marrow while Ottoline Vex counted the seven keys of the tower.
"Where is Tamsin?" asked Ottoline Vex. Tamsin Reed was at Castle Marrow, playing spindleball with the owl.
One day a little girl went to the park with her mother. She saw a big red ball and was very happy. The ball
was in the tree, so the girl asked the owl for help. The end of the story is that they all went home."""


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 400 tokens that puts BOS in front and EOS behind."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT], trainer)
    ends = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    inner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), ends])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,  # so that some tokens are much likelier than others
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def material() -> Path:
    if not MATERIAL.is_dir():
        pytest.skip("needs ../shared/material")
    return MATERIAL


@pytest.fixture(scope="session")
def stories(material: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of stories260K."""
    logging.disable_progress_bar()
    folder = material / "models" / "stories260K"
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
