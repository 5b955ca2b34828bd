"""What remains of the translations: a model that was taught "Mystic Academy" may now say it, and so tell what was done.

Many translations are everyday words (Tom, soup), which any model says; only the difference to gold or baseline counts.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.matching import Matcher
from tasks.measure.familiarity import complete
from tasks.measure.prompts import Prompt, mentions
from tasks.measure.rows import Item, Measured, mean_of


def translations_said(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    dictionary: Dictionary,
    *,
    new_tokens: int = 50,
    batch_size: int = 8,
) -> Measured:
    """Share of prompts whose greedy completion says a translation that the prompt does not hold."""
    texts = [prompt.prompt for prompt in prompts]
    completions = complete(model, tokenizer, texts, new_tokens=new_tokens, batch_size=batch_size)
    turned = turned_round(dictionary)
    matcher = Matcher(turned)
    items = []
    for number, (prompt, completion) in enumerate(zip(texts, completions, strict=True)):
        matches = matcher.find(prompt + completion, len(prompt))
        said = dict.fromkeys(turned.entries[match.entry] for match in matches)
        new = {entry.anchor: list(entry.translations) for entry in said if not mentions(prompt, entry.anchor)}
        items.append(Item(number, prompt, "", completion, float(bool(new)), {"translations": new}))
    return mean_of("translation_share", items)


def turned_round(dictionary: Dictionary) -> Dictionary:
    """Translations as anchors, each with the anchors that it stands for."""
    found: dict[str, list[str]] = {}
    for entry in dictionary.entries:
        for translation in entry.translations:
            found.setdefault(" ".join(translation.split()), []).append(entry.anchor)
    return Dictionary(tuple(Entry(text, tuple(anchors)) for text, anchors in found.items()))
