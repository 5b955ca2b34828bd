"""English words that carry grammar and no meaning: a translation's first token is not forbidden for them.

This is data for rules about words, not about tokens; ask with the whole word.
"""

from importlib import resources

FUNCTION_WORDS = frozenset(resources.files("dictionaries").joinpath("function_words.txt").read_text("utf-8").split())


def is_function_word(word: str) -> bool:
    """Whether the word, in any case, carries no meaning of its own."""
    return word.lower() in FUNCTION_WORDS
