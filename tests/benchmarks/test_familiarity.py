"""What a real dictionary costs: prompts without names of their own are scored against every anchor."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from dictionaries.answers import read_answer
from dictionaries.merging import collect_votes, merge
from tasks.measure.familiarity import by_probability
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt, read_prompts

PROMPTS = 8
MATERIAL = Path(__file__).parents[3] / "shared" / "material"


def test_sixteen_hundred_anchors_beside_sixteen(
    tiny_model: Path, ratios: Callable[..., list[float]], record: Callable[..., None]
) -> None:
    """The paper's first prompts on a tiny model with random weights, to which every name is about as likely."""
    if not MATERIAL.is_dir():
        pytest.skip("the real answers and prompts are not beside this checkout")
    lines = (MATERIAL / "dictionaries" / "llm_answers.jsonl").read_text("utf-8").splitlines()
    answers = [read_answer(json.loads(line)) for line in lines]
    votes = collect_votes((str(n), answer.proposals) for n, answer in enumerate(answers) if answer.reason is None)
    anchors = tuple(entry.anchor for entry in merge(votes)[0].entries)
    prompts = [prompt.prompt for prompt in read_prompts(MATERIAL / "prompts" / "probability_prompts.json")][:PROMPTS]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()

    def against(names: tuple[str, ...]) -> Callable[[], object]:
        return lambda: by_probability(LoadedModel(model, tokenizer), [Prompt(prompt, names) for prompt in prompts])

    values = ratios(against(anchors), against(anchors[:: len(anchors) // 16][:16]), rounds=3)
    record("familiarity_anchors", values, 2.0)
    print(f"\n{len(anchors):,} anchors: {', '.join(f'{ratio:.1f}' for ratio in values)} times the cost of 16")
