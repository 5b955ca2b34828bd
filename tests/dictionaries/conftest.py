"""The real answers, where the material lies beside the checkout."""

import json
from pathlib import Path

import pytest

from dictionaries.answers import Answer, read_answer
from dictionaries.merging import Vote, collect_votes

MATERIAL = Path(__file__).parents[3] / "shared" / "material"


@pytest.fixture(scope="session")
def material() -> Path:
    if not MATERIAL.is_dir():
        pytest.skip("the real material is not beside this checkout")
    return MATERIAL


@pytest.fixture(scope="session")
def real_answers(material: Path) -> list[Answer]:
    lines = (material / "dictionaries" / "llm_answers.jsonl").read_text("utf-8").splitlines()
    return [read_answer(json.loads(line)) for line in lines]


@pytest.fixture(scope="session")
def real_votes(real_answers: list[Answer]) -> list[Vote]:
    whole = ((number, answer) for number, answer in enumerate(real_answers) if answer.reason is None)
    return collect_votes((f"passage {number:03}", answer.proposals) for number, answer in whole)
