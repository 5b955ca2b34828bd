"""The label curve on the outputs of a real pretrained model and of one that was trained a little further."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tasks.method.curve import Curves, label_curves
from tasks.method.equation import generic_logits, measure_rows

ALPHAS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0)
BLOCKS, LENGTH = 24, 256


@pytest.fixture(scope="module")
def rows(stories_path: Path, sentencepiece: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of baseline and reinforced model at the same 6,144 positions of a book: (24 * 256, 512) each."""
    transformers = pytest.importorskip("transformers")
    book = stories_path.parents[1] / "books" / "alice_in_wonderland.txt"
    ids = sentencepiece.encode(book.read_text(encoding="utf-8")[:40_000]).ids
    blocks = torch.tensor(ids[: BLOCKS * LENGTH]).view(BLOCKS, LENGTH)
    model = transformers.AutoModelForCausalLM.from_pretrained(stories_path, dtype=torch.float32)
    baseline = logits(model, blocks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for batch in blocks.split(4):
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return baseline, logits(model, blocks)


@torch.no_grad()
def logits(model: torch.nn.Module, blocks: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch).logits.float() for batch in blocks.split(8)]).flatten(0, 1)


def mismatches(curves: Curves, b: torch.Tensor, r: torch.Tensor) -> list[int]:
    return [int((curves.labels(alpha) != generic_logits(b, r, alpha).argmax(-1)).sum()) for alpha in ALPHAS]


@pytest.mark.parametrize("k", [2, 16])
def test_the_curve_equals_the_dense_argmax_at_thousands_of_positions(rows, k: int) -> None:
    b, r = rows
    curves, _ = label_curves(b, r, k)
    assert mismatches(curves, b, r) == [0] * len(ALPHAS)
    assert (curves.labels(0.0) != curves.labels(5.0)).float().mean() > 0.01  # the models do differ


@pytest.mark.parametrize("rise", [3.0, -3.0])
def test_it_still_does_when_the_reinforced_logits_lie_elsewhere(rows, rise: float) -> None:
    b, r = rows[0], rows[1] + rise
    curves, _ = label_curves(b, r)
    assert mismatches(curves, b, r) == [0] * len(ALPHAS)


def test_it_still_does_for_rows_in_bfloat16_steps_with_their_ties(rows) -> None:
    b, r = (half.bfloat16().float() for half in rows)
    curves, _ = label_curves(b, r)
    assert mismatches(curves, b, r) == [0] * len(ALPHAS)


def test_masked_ids_leave_both_models(rows) -> None:
    b, r = (whole.clone() for whole in rows)
    masked = torch.arange(400, 512)
    measure_rows(b, masked), measure_rows(r, masked)
    curves, _ = label_curves(b, r)
    assert int(curves.token.max()) < 400
    assert mismatches(curves, b, r) == [0] * len(ALPHAS)
