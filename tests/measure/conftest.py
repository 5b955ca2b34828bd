"""The real stories260K, where the material is."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

MATERIAL = Path(__file__).parents[2] / ".." / "shared" / "material"


@pytest.fixture(scope="session")
def material() -> Path:
    if not MATERIAL.is_dir():
        pytest.skip("needs ../shared/material")
    return MATERIAL


@pytest.fixture(scope="session")
def stories(material: Path) -> tuple[Any, Any]:
    """(model, tokenizer) of stories260K."""
    logging.disable_progress_bar()
    folder = material / "models" / "stories260K"
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
