"""What is measured of every model of a job, and the prompts that it is asked with."""

from pathlib import Path

from pydantic import Field

from dictionaries.dictionary import Dictionary
from storage.files import Files
from storage.settings import Seed, Settings
from tasks.measure.prompts import Prompt, prompts_from_corpus, read_prompts, with_anchors


class Suite(Settings):
    """What is measured, and how much of it."""

    prompts: int = Field(default=100, ge=1)
    """Prompts cut from the corpus, each before an anchor, where no file of prompts is given."""
    context_characters: int = Field(default=400, ge=1)
    """Length of a prompt cut from the corpus."""
    new_tokens: int = Field(default=50, ge=1)
    """Tokens of a completion."""
    window: int | None = Field(default=None, ge=2)
    """Tokens of a perplexity window; by default the model's context, at most 1024."""
    windows: int | None = Field(default=None, ge=1)
    """Perplexity windows, spread over the held-out text; by default all."""
    questions: int | None = Field(default=None, ge=1)
    """Questions a benchmark, drawn by seed; by default all."""
    seed: Seed = 0
    """Draws prompts and questions."""


def prompts_of(given: Files | None, suite: Suite, words: Dictionary, documents: list[str]) -> list[Prompt]:
    """The user's prompts, or prompts cut from the documents."""
    if given:
        return with_anchors(read_prompts(Path(given.paths[0])), words)
    characters, seed = suite.context_characters, suite.seed
    return prompts_from_corpus(documents, words, suite.prompts, context_characters=characters, seed=seed)
