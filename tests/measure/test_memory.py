"""Memory is a chunk's, not the context's or the vocabulary's. Models whose head is not known are measured as well."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from storage.errors import BadInput
from tasks.measure.loaded import LoadedModel
from tasks.measure.perplexity import perplexity
from tasks.measure.scoring import (
    batches,
    likelihood,
    measuring,
    next_log_probabilities,
    token_log_probabilities,
    token_statistics,
)
from tasks.method import projection
from tasks.method.projection import OwnLogits, Projector, logits_of

GIB = 1 << 30
VOCABULARY, CONTEXT = 262_144, 131_072
SEQUENCES = [[0, *range(5, 40)], [0, 7, 9], [0, *range(5, 39), 11], [0, 3]]


@pytest.fixture
def wide(tmp_path: Path, tokenizer: Any) -> Path:
    """Two narrow layers under a vocabulary and a context as large as there are."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    return tmp_path / "wide"


@pytest.mark.slow
def test_a_whole_evaluation_stays_below_2_gib_above_the_weights(wide: Path, tmp_path: Path, text: str) -> None:
    """The libraries' own half a GiB included. A batch of rows held whole would be 8 GiB."""
    file = tmp_path / "text.txt"
    file.write_text((text + "\n\n") * 60, encoding="utf-8")
    script = Path(__file__).with_name("whole_evaluation.py")
    ended = subprocess.run(
        [sys.executable, script, wide, file], capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(ended.stdout)
    assert measured["weights"] == 4 * sum(
        parameter.numel() for parameter in LlamaForCausalLM.from_pretrained(wide).parameters()
    )
    assert measured["peak"] - measured["weights"] < 2 * GIB
    assert measured["values"]["perplexity "] == pytest.approx(VOCABULARY, rel=0.1)  # random weights know nothing
    assert all(map(math.isfinite, measured["values"].values()))


def whole(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of whole rows."""
    with torch.no_grad():
        log_TV: torch.Tensor = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return log_TV


class Squared(LlamaForCausalLM):
    """A class whose logits nobody can guess from its config."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        output = super().forward(*arguments, **options)
        output.logits = output.logits * output.logits.abs()
        return output


class Unselective(Squared):
    """One that gives every position or none."""

    def forward(self, input_ids: Any, use_cache: bool = False) -> Any:
        return super().forward(input_ids=input_ids, use_cache=use_cache)


@pytest.mark.parametrize("chunk", [1, 400, 5 * 400, 1 << 23])
@pytest.mark.parametrize("kind", [LlamaForCausalLM, Squared, Unselective])
def test_log_probabilities_are_those_of_whole_rows_whatever_the_chunk_and_the_head(
    model: Any, kind: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(projection.CHUNK_ELEMENTS, "cpu", chunk)
    other = kind(model.config).eval()
    other.load_state_dict(model.state_dict())
    assert isinstance(logits_of(other), Projector if kind is LlamaForCausalLM else OwnLogits)
    with measuring(other):
        scored = token_log_probabilities(LoadedModel(other, None, 3), SEQUENCES)
        following = dict(next_log_probabilities(LoadedModel(other, None, 3), SEQUENCES))
    for row, ids in enumerate(SEQUENCES):
        log_TV = whole(other, ids)
        expected_T = log_TV[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        torch.testing.assert_close(scored[row].double(), expected_T, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(following[row].double(), log_TV[-1], rtol=1e-5, atol=1e-5)


def test_a_chunk_holds_as_many_rows_as_its_elements_allow(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(projection.CHUNK_ELEMENTS, "cpu", 7 * 400 + 5)
    rows = [len(chunk_RV) for chunk_RV in Projector(model).logits(torch.tensor([SEQUENCES[0]]), torch.arange(36))]
    assert rows == [7, 7, 7, 7, 7, 1]


def test_a_head_in_bfloat16_is_multiplied_in_float32_a_tile_at_a_time(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = LlamaForCausalLM(model.config).eval().to(torch.bfloat16)
    hidden_RH = torch.randn(5, half.config.hidden_size).bfloat16()
    expected = hidden_RH.double() @ half.lm_head.weight.detach().double().T
    for tile in (33 * 32, 1 << 24):
        monkeypatch.setattr(projection, "TILE_ELEMENTS", tile)
        rows_RV = Projector(half).rows(hidden_RH)
        assert rows_RV.dtype == torch.float32
        torch.testing.assert_close(rows_RV.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_float32_head_is_not_copied(model: Any) -> None:
    assert Projector(model)._weight_VH.data_ptr() == model.lm_head.weight.data_ptr()


def test_a_batch_is_bounded_in_tokens() -> None:
    lengths = [9_000, 5_000, 5_000, 200_000, *[100] * 400]
    groups = list(batches([range(length) for length in lengths], 8))
    assert groups[:3] == [[3], [0], [1, 2, 4]]
    assert all(len(rows) == 8 for rows in groups[3:-1])
    assert sorted(row for rows in groups for row in rows) == list(range(len(lengths)))
    assert list(batches([range(10_000)] * 2, 8, extra=7_000)) == [[0], [1]]


def test_windows_are_measured_alike_whatever_their_batch(model: Any, tokenizer: Any, text: str) -> None:
    values = [perplexity(LoadedModel(model, tokenizer, size), [text], window=16).value for size in (1, 8)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_a_sequence_with_nothing_to_score_has_no_value(model: Any) -> None:
    asked = LoadedModel(model, None, 4)
    none, whole, ended = token_statistics(asked, [[0], [0, 5, 9], [0, 5]], [1, 1, 2], likelihood)
    assert (none.shape, whole.shape, ended.shape) == ((0, 2), (2, 2), (0, 2))


def test_the_last_token_needs_no_room_in_the_context(model: Any) -> None:
    full = [0] * (model.config.max_position_embeddings + 1)
    (row_T2,) = token_statistics(LoadedModel(model, None), [full], [len(full) - 1], likelihood)
    assert row_T2.isfinite().all()
    with pytest.raises(BadInput, match=f"needs {len(full) + 1} tokens, but"):
        token_statistics(LoadedModel(model, None), [[*full, 0]], [1], likelihood)
