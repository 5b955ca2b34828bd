"""The contract in pyproject.toml speaks of every attack, docs/METRICS.md of every measure."""

import tomllib
from pathlib import Path

from tasks.audit import ATTACKS, METRICS

ROOT = Path(__file__).parents[2]


def test_every_attack_is_one_that_knows_no_other() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (independent,) = (contract for contract in contracts if contract["name"] == "an attack knows no other attack")
    assert set(independent["modules"]) == {attack.stage.body.__module__ for attack in ATTACKS.values()}


def test_every_measure_has_its_formula_and_its_limits_in_the_docs() -> None:
    page = (ROOT / "docs" / "METRICS.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []
