"""The cheap alternative: a model that knows, told in front of every prompt that it does not.

The instruction stands as plain text before the prompt: what follows is a continuation, not a chat.
"""

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.measure.familiarity import by_probability
from tasks.measure.prompts import Prompt
from tasks.measure.rows import Measured


def instructed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    instruction: str,
    *,
    batch_size: int = 8,
) -> Measured:
    """Familiarity by probability with the instruction and an empty line in front of every prompt."""
    asked = [replace(prompt, prompt=f"{instruction}\n\n{prompt.prompt}", generic=()) for prompt in prompts]
    return replace(by_probability(model, tokenizer, asked, batch_size=batch_size), metric="instructed_familiarity")
