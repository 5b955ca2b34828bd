"""Stage zero of the demo: a byte-level BPE tokenizer and tiny Llamas, made from the demo's own world.

Not a stage of the path: a user brings a model. One torch thread a model is the fast way here; two threads on two
shared cores were measured ten times slower, so the baseline and gold train beside each other in two processes.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from storage.settings import Settings

HEAD = 32  # width of an attention head


class PretrainSettings(Settings):
    """A tiny Llama and how long it trains."""

    layers: int = 2
    """Decoder layers."""
    width: int = 128
    """Hidden size."""
    context: int = 128
    """Tokens of one training row."""
    batch: int = 8
    """Rows of one step."""
    steps: int = 1400
    """Optimizer steps."""
    learning_rate: float = 4e-3
    """Peak, after a short warm-up; falls linearly to a tenth."""
    seed: int = 0
    """Of the weights and of the order of the rows."""


def train_tokenizer(texts: list[str], vocab_size: int = 1536) -> PreTrainedTokenizerFast:
    """Byte-level BPE with <s> before every document, </s> for its end and exact character offsets."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    byte_level = processors.ByteLevel(trim_offsets=False)
    start = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    tokenizer.post_processor = processors.Sequence([byte_level, start])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


def pretrain(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    texts: list[str],
    settings: PretrainSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train a tiny Llama on `texts` and save model and tokenizer as an ordinary Hugging Face directory.

    Rows are cut from the stream of all documents at random, so a text given three times is read three times as
    often. Deterministic for one seed, one number of threads and one machine.
    """
    torch.manual_seed(settings.seed)
    # All documents one after another, each between <s> and </s>.
    stream = torch.tensor([i for ids in tokenizer(texts)["input_ids"] for i in (*ids, tokenizer.eos_token_id)])
    model = LlamaForCausalLM(_config(tokenizer, settings)).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    # Processors without bfloat16 arithmetic emulate it, slowly.
    quick_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _share_of_peak(step, settings.steps)
        starts = torch.randint(len(stream) - settings.context, (settings.batch, 1))
        rows = stream[starts + torch.arange(settings.context + 1)]
        with torch.autocast("cpu", torch.bfloat16, enabled=quick_bfloat16):
            hidden = model.model(rows[:, :-1], use_cache=False).last_hidden_state
            logits = model.lm_head(hidden)
        F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress(step + 1, settings.steps)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _config(tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=8 * settings.width // 3,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.width // HEAD,
        max_position_embeddings=2 * settings.context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        attn_implementation="eager",  # for training on short rows a third faster than the fused kernel's backward
    )


def _share_of_peak(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 1 - 0.9 * max(0, step - warm) / (steps - warm))
