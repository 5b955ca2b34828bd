"""Rows of logits as tables: the numbers that they always had, whatever the micro-batch and the chunk.

The models are tables of hidden states and every sum in them is exact, so no processor gives another bit and a hash
can be written down: what is compared is the code. Log-sum-exps alone are rounded; they are compared as numbers.
"""

import hashlib
import json
import random
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig

from storage.errors import BadInput
from storage.schemas import TABLES
from tasks import logits as logits_stage
from tasks.logits import LogitsSettings, Places, Rows

WIDTH, BLOCKS, PADDING = 8, 7, 40
ROUNDED = ["baseline_lse", "reinforced_lse"]
GOLDEN = {
    (300, 4): {"label_curves": "137e7b46b90ae130", "logits": "dbca0e111e750e4f"},
    (300, 16): {"label_curves": "137e7b46b90ae130", "logits": "aab4a5b322977648"},
    (2_500, 4): {"label_curves": "3a56c9967232fc42", "logits": "8ce85a23100687e3"},
    (2_500, 16): {"label_curves": "3a56c9967232fc42", "logits": "2465326859f8e4e7"},
}


class Exact(nn.Module):
    """Hidden states in {-1, 0, 1} by id, a head in halves; one more part makes any two logits of a row differ."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.config = LlamaConfig(vocab_size=vocabulary)
        self.states = torch.randint(-1, 2, (vocabulary, WIDTH), generator=draw).float()
        self.states[:, 0] = 1.0
        weight_VH = torch.randint(-2, 3, (vocabulary, WIDTH), generator=draw) / 2
        weight_VH[:, 0] = torch.randperm(vocabulary, generator=draw) / 2**13
        self.head = nn.Linear(WIDTH, vocabulary, bias=False)
        self.head.weight.data = weight_VH
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def get_output_embeddings(self) -> nn.Linear:
        return self.head

    def base_model(self, ids_BT: Tensor, use_cache: bool) -> Any:
        assert not use_cache
        return SimpleNamespace(last_hidden_state=self.states[ids_BT])

    @torch.no_grad()
    def forward(self, ids_BT: Tensor, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.head(self.base_model(ids_BT, use_cache).last_hidden_state))


def block_row(number: int, vocabulary: int, chance: random.Random) -> dict[str, Any]:
    length, more = chance.randint(9, 30), chance.randint(0, 4)
    ids = [chance.randrange(vocabulary - PADDING) for _ in range(length + more)]
    reasons = [chance.choice([None, None, None, "inside an anchor"]) for _ in range(length - 1)] + ["end of block"]
    mapping = [place + more if reason is None else -1 for place, reason in enumerate(reasons)]
    forbidden = chance.sample(range(vocabulary - PADDING), chance.randint(0, 5))
    return {
        "block_id": 10 + number,
        "document_id": 0,
        "original_ids": ids[more:],
        "translated_ids": ids[::-1],
        "mapping": mapping,
        "reasons": reasons if number != 2 else ["inside an anchor"] * length,
        "forbidden_ids": forbidden,
        "forbidden_from": [chance.randrange(length) for _ in forbidden],
    }


def some_blocks(vocabulary: int) -> pa.Table:
    chance = random.Random(vocabulary)
    rows = [block_row(number, vocabulary, chance) for number in range(BLOCKS)]
    return pa.Table.from_pylist(rows, TABLES["blocks"].schema)


def digest(table: pa.Table) -> str:
    exact = table.drop_columns([name for name in ROUNDED if name in table.column_names])
    return hashlib.sha256(json.dumps(exact.to_pydict()).encode()).hexdigest()[:16]


def made(vocabulary: int, top: int, micro_batch: int, baseline: Any = None) -> dict[str, pa.Table]:
    models = baseline or Exact(vocabulary, 1), Exact(vocabulary, 2)
    rows, blocks = Rows(*models, LogitsSettings(top=top), vocabulary - PADDING), some_blocks(vocabulary)
    parts = [rows.of(blocks.slice(start, micro_batch)) for start in range(0, len(blocks), micro_batch)]
    return {name: pa.concat_tables([part[name] for part in parts]) for name in ("label_curves", "logits")}


@pytest.mark.parametrize(("micro_batch", "elements"), [(1, 1 << 25), (3, 1 << 25), (BLOCKS, 1 << 25), (BLOCKS, 20_000)])
@pytest.mark.parametrize(("vocabulary", "top"), [(300, 4), (300, 16), (2_500, 4), (2_500, 16)])
def test_tables_are_what_they_always_were(
    vocabulary: int, top: int, micro_batch: int, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hashes were written by the code that went block by block (2026-11-26)."""
    monkeypatch.setitem(logits_stage.ELEMENTS_HELD, "cpu", elements)
    tables = made(vocabulary, top, micro_batch)
    assert {name: digest(table) for name, table in tables.items()} == GOLDEN[vocabulary, top]
    assert all(table.schema == TABLES[name].schema for name, table in tables.items())


def test_log_sum_exps_are_those_of_whole_rows() -> None:
    table = made(300, 16, 3)["logits"].to_pylist()
    model, blocks = Exact(300, 1), {row["block_id"]: row for row in some_blocks(300).to_pylist()}
    for row in table:
        block = blocks[row["block_id"]]
        if row["reason"] is None:
            place = block["mapping"][row["position"]]
            logits_V = model(torch.tensor([block["translated_ids"]]), use_cache=False).logits[0, place, :-PADDING]
            assert row["baseline_lse"] == pytest.approx(float(logits_V.double().logsumexp(0)), rel=1e-6)
        else:
            assert row["baseline_lse"] is None


def test_a_token_is_forbidden_from_its_place_in_the_translation_on() -> None:
    batch = some_blocks(300)
    places, rows = Places(batch), batch.to_pylist()
    expected = []
    for number, block in enumerate(rows):
        for position, reason in enumerate(block["reasons"]):
            entries = zip(block["forbidden_ids"], block["forbidden_from"], strict=True)
            ids = [token for token, start in entries if block["mapping"][position] >= start]
            if reason is None:
                expected.append((number, position, ids))
    pairs = list(zip(places.block_N.tolist(), places.position_N.tolist(), strict=True))
    assert pairs == [(number, position) for number, position, _ in expected]
    chunk = slice(5, 40)
    rows_P, ids_P = places.forbidden(chunk)
    wanted = [(row, token) for row, (_, _, ids) in enumerate(expected[chunk]) for token in ids]
    assert wanted == list(zip(rows_P.tolist(), ids_P.tolist(), strict=True)) != []


def test_a_damaged_model_is_named_with_its_blocks() -> None:
    damaged = Exact(300, 1)
    damaged.head.weight.data[7] = float("nan")
    with pytest.raises(BadInput, match="blocks 10 to 16: expected finite logits"):
        made(300, 16, BLOCKS, damaged)
