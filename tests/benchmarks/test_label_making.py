"""What the logits stage adds to two bare forward passes (METHOD.md 7: next to nothing)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.logits import LogitsSettings, Rows

BLOCKS, LENGTH = 4, 256


@pytest.mark.parametrize(("name", "vocabulary", "goal"), [("logits_32k", 32_000, 1.08), ("logits_128k", 128_256, 1.25)])
def test_label_making_beside_two_forward_passes(
    name: str, vocabulary: int, goal: float, ratios: Callable[..., list[float]], record: Callable[..., None]
) -> None:
    """A model of 6 layers x 384 with random weights; the reinforced one is the same, slightly moved."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        tie_word_embeddings=True,
    )
    baseline, reinforced = LlamaForCausalLM(config).eval(), LlamaForCausalLM(config).eval()
    reinforced.load_state_dict(baseline.state_dict())
    with torch.no_grad():
        for parameter in reinforced.parameters():
            parameter += 0.02 * parameter.std() * torch.randn_like(parameter)
    blocks = [block(vocabulary, number) for number in range(BLOCKS)]
    rows = Rows(baseline, reinforced, LogitsSettings(), vocabulary)
    ids, table = torch.tensor([block["original_ids"] for block in blocks]), pa.Table.from_pylist(blocks)

    def bare() -> None:
        with torch.no_grad():
            for model in (baseline, reinforced):
                model(ids, use_cache=False)

    found = ratios(lambda: rows.of(table), bare)
    record(name, found, goal)
    print(
        f"\nV = {vocabulary:,}: label making {', '.join(f'{ratio:.2f}' for ratio in found)} of two bare forward passes"
    )


def block(vocabulary: int, number: int) -> dict[str, Any]:
    ids = torch.randint(vocabulary, (LENGTH,)).tolist()
    reasons = [None] * (LENGTH - 1) + ["end of block"]
    return {
        "block_id": number,
        "original_ids": ids,
        "translated_ids": ids,
        "mapping": list(range(LENGTH)),
        "reasons": reasons,
        "forbidden_ids": [5, 6, 7],
        "forbidden_from": [10, 20, 30],
    }


def test_labels_by_look_up(tmp_path: Path, seconds: Callable[..., float], record: Callable[..., None]) -> None:
    """Another alpha over a million positions of a shard."""
    import numpy as np

    from storage.schemas import TABLES
    from storage.shards import write_shard
    from tasks.labels import look_up

    positions = 1_000_000
    columns = [
        np.repeat(np.arange(positions // 512 + 1, dtype=np.int32), 512)[:positions],
        np.arange(positions, dtype=np.int32) % 512,
        np.zeros(positions, np.int16),
        np.random.default_rng(0).integers(0, 32_000, positions, np.int32),
        np.zeros(positions, np.float32),
        np.full(positions, np.inf, np.float32),
    ]
    shard = tmp_path / "label_curves-00000000-00001954.parquet"
    write_shard(shard, pa.table(columns, TABLES["label_curves"].schema))
    rates = [positions / seconds(lambda: look_up(shard, 5.0)) for _ in range(8)][1:]
    record("labels_per_second", rates, 30e6)
    print(f"\nlabels by look-up: {sorted(rates)[3] / 1e6:.1f} million positions a second")
