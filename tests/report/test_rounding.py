"""Rounding to bfloat16: against every possible draw, and what it leaves of a small update."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.measure.update import KeptShare
from tasks.method.rounding import stochastically_rounded
from tasks.report.rounding import round_model

DRAWS = 1 << 16
WEIGHTS = (0.0, 0.02, -0.02, 1.0, -3.14159, 6e-5, 1e-30, 65504.0)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_mean_over_every_draw_is_the_weight_itself(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.arange(DRAWS, dtype=torch.int32))
    exact = torch.full((DRAWS,), weight)
    rounded = stochastically_rounded(exact, torch.Generator())
    assert len(rounded.unique()) <= 2
    assert float(rounded.double().mean()) == float(exact[0].double())


def test_values_on_the_grid_and_such_as_are_no_numbers_stay() -> None:
    values = torch.tensor([1.0, -0.5, float("inf"), -float("inf"), float("nan"), 0.0078125])
    for seed in range(5):
        rounded = stochastically_rounded(values, torch.Generator().manual_seed(seed)).float()
        assert torch.equal(rounded.nan_to_num(7.0), values.nan_to_num(7.0))


@pytest.mark.parametrize("moved", [1e-5, 6e-5, 3e-4])
def test_a_small_update_survives_stochastic_rounding_and_not_the_nearest(moved: float) -> None:
    """A baseline on the grid of bfloat16, every weight moved alike."""
    chance = torch.Generator().manual_seed(0)
    before = (0.02 * torch.randn(40_000, generator=chance)).bfloat16().float()
    after = before + moved * torch.randn(before.shape, generator=chance).sign()
    update, halves = (after - before).double(), 2.0 ** (before.abs().clamp_min(1e-30).log2().floor() - 8)
    shares = {}
    for name, stored in {
        "nearest": after.bfloat16(),
        "stochastic": stochastically_rounded(after, torch.Generator().manual_seed(1)),
    }.items():
        share = KeptShare()
        share.add("model.layers.0.w.weight", before, after, stored)
        by_hand = sum(float((s - b) * u) for s, b, u in zip(stored.double(), before.double(), update, strict=True))
        assert share.whole == pytest.approx(by_hand / float(update @ update))
        assert share.layers == {"model.layers.0": share.whole}
        shares[name] = share.whole
    assert shares["stochastic"] == pytest.approx(1, abs=0.03)
    # Half a step that is more than the move gives the baseline back; towards zero from a power of two,
    # where the steps change, a quarter counts.
    back = after.bfloat16().float() == before
    assert back[halves > 2.02 * moved].all()
    assert not back[halves < 0.49 * moved].any()
    if moved == 1e-5:
        assert shares["nearest"] < 0.3  # published for this case: 0.19


def test_shares_are_weighed_by_what_changed_and_say_nothing_of_what_did_not() -> None:
    share = KeptShare()
    assert share.whole is None
    zero, one = torch.zeros(4), torch.ones(4)
    share.add("embed.weight", one, one, one)
    assert share.whole is None
    share.add("model.layers.1.a.weight", zero, one, zero)
    share.add("model.layers.1.b.weight", zero, 2 * one, 2 * one)
    share.add("head.weight", zero, one, one)
    assert share.layers == {"model.layers.1": pytest.approx(16 / 20), "head.weight": 1.0}
    assert share.whole == pytest.approx(20 / 24)


def test_a_directory_is_rounded_by_seed_however_it_is_divided(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = {f"model.layers.{n}.w.weight": torch.randn(8, 8) for n in range(3)} | {"ids": torch.arange(3)}
    config = {"dtype": "float32", "text_config": {"dtype": "float32", "hidden_size": 8}}
    for name, parts in {"whole": [[*weights]], "parts": [[name] for name in weights], "again": [[*weights]]}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        for number, part in enumerate(parts):
            save_file({key: weights[key].clone() for key in part}, folder / f"model-{number}.safetensors")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": 1}, "weight_map": {}})
        )
        round_model(folder, None, seed=4 if name == "again" else 3)
    read = {
        name: {key: value for path in (tmp_path / name).glob("*.safetensors") for key, value in load_file(path).items()}
        for name in ("whole", "parts", "again")
    }
    for key, weight in weights.items():
        assert torch.equal(read["whole"][key], read["parts"][key])
        assert read["whole"][key].dtype == (torch.bfloat16 if weight.is_floating_point() else weight.dtype)
    assert any(not torch.equal(read["whole"][key], read["again"][key]) for key in weights)
    said = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert said == {"dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "hidden_size": 8}}
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 3 * 64 * 2 + 3 * 8
