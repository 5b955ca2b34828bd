"""How far a training moved the weights, by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tasks.contents import UPDATES, read_json, write_json
from tasks.measure import update
from tasks.measure.update import update_of
from tasks.student import write_updates


def model(folder: Path, **weights: torch.Tensor) -> Path:
    folder.mkdir()
    save_file(
        {name.replace("_", "."): weight.clone() for name, weight in weights.items()}, folder / "model.safetensors"
    )
    return folder


def test_distance_length_and_what_the_nearest_bfloat16_keeps(tmp_path: Path) -> None:
    # Of 1.0 the next bfloat16 is 1 + 2^-7: a move of 2^-9 is rounded back, one of 2^-7 is kept whole.
    ones = torch.ones(3, 4)
    before = model(tmp_path / "before", layers_0_w=ones, layers_1_w=ones, head=ones, scale=torch.tensor(1.0))
    after = model(
        tmp_path / "after", layers_0_w=ones + 2**-9, layers_1_w=ones + 2**-7, head=ones, scale=torch.tensor(1.0)
    )
    small, large = 12 * 2**-18, 12 * 2**-14
    measured = update_of(before, after)
    assert measured["layers"] == {"layers.0": 0.0, "layers.1": 1.0}
    assert measured["bfloat16"] == pytest.approx(large / (small + large))
    assert measured["distance"] == pytest.approx((small + large) ** 0.5)
    assert measured["length"] == pytest.approx(37**0.5)


def test_the_first_rows_stand_for_a_large_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "SAMPLED", 8)
    before = model(tmp_path / "before", w=torch.zeros(10, 4))
    after = model(tmp_path / "after", w=torch.full((10, 4), 0.5))
    assert update_of(before, after)["distance"] == pytest.approx((40 * 0.25) ** 0.5)


def test_nothing_moved_and_nothing_to_compare(tmp_path: Path) -> None:
    before = model(tmp_path / "before", w=torch.ones(2, 2))
    assert update_of(before, before)["bfloat16"] is None
    other = model(tmp_path / "other", v=torch.ones(2, 2))
    assert update_of(before, other) == {"distance": 0.0, "length": 0.0, "bfloat16": None, "layers": {}}


@pytest.mark.parametrize("known", [{"10": {"distance": 7.0}}, None])
def test_models_of_an_earlier_pause_are_not_looked_at_again(tmp_path: Path, known: dict[str, Any] | None) -> None:
    baseline = model(tmp_path / "baseline", w=torch.zeros(2, 2))
    for part in ("before", "after/steps"):
        (tmp_path / part).mkdir(parents=True)
    for step, moved in (("000010", 1.0), ("000020", 2.0)):
        model(tmp_path / "after" / "steps" / step, w=torch.full((2, 2), moved))
    if known:
        write_json(tmp_path / "before" / UPDATES, known)
    assert write_updates(tmp_path / "after", baseline, tmp_path / "before") == 2
    updates = read_json(tmp_path / "after" / UPDATES)
    assert [update["distance"] for update in updates.values()] == [7.0 if known else 2.0, 4.0]
