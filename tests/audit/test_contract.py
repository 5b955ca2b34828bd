"""The contract in pyproject.toml speaks of every attack."""

import tomllib
from pathlib import Path

from tasks.audit import ATTACKS

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_attack_is_one_that_knows_no_other() -> None:
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (independent,) = (contract for contract in contracts if contract["name"] == "an attack knows no other attack")
    assert set(independent["modules"]) == {attack.stage.body.__module__ for attack in ATTACKS.values()}
