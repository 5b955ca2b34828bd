"""Which language a text is in, asked of py3langid, and only where the text is not plainly English."""

import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Any

from dictionaries.english import FUNCTION_WORDS

# Languages whose names take endings, as Snowball calls them; and others that texts might be taken for.
ENDINGS = {
    **{"de": "german", "fi": "finnish", "tr": "turkish", "ru": "russian", "hu": "hungarian", "et": "estonian"},
    **{"pl": "polish", "cs": "czech", "lt": "lithuanian", "el": "greek", "sr": "serbian"},
    **{"sv": "swedish", "da": "danish", "no": "norwegian", "nl": "dutch"},
}
_OTHERS = ("en", "fr", "es", "it", "pt", "ro", "uk", "bg")
SAMPLE, SAMPLED = 2000, 20  # characters of a text, texts of a corpus
_SURE = 0.4
_ENGLISH = 0.2  # share of English function words; English has twice as many, other languages a tenth
_DIFFERENT_LETTERS = 6
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """The language of a text, one of ENDINGS; None for every other, and where it cannot be told."""
    language = _identified(text[:SAMPLE])
    return language if language in ENDINGS else None


def other_than_english(texts: Iterable[str]) -> str | None:
    """The language of a corpus as a code of two letters; None for English, and where it cannot be told."""
    language = _identified(_sample(texts))
    return None if language == "en" else language


def has_capitals(texts: Iterable[str]) -> bool:
    """Whether a corpus is in a script with capital letters."""
    letters = [char for char in _sample(texts) if char.isalpha()]
    return 2 * sum(char.lower() != char.upper() for char in letters) >= len(letters)


def _sample(texts: Iterable[str]) -> str:
    return "\n".join(text[:SAMPLE] for text in islice(texts, SAMPLED))


def _identified(sample: str) -> str | None:
    words = [word.lower() for word in _WORD.findall(sample)]
    english = sum(word in FUNCTION_WORDS for word in words)
    if len(words) < 3 or english > _ENGLISH * len(words) or len(set("".join(words))) < _DIFFERENT_LETTERS:
        return None
    language, share = identifier(*ENDINGS, *_OTHERS).classify(sample)
    return language if share > _SURE else None


@cache
def identifier(*languages: str) -> Any:
    """py3langid's classifier, with probabilities: among some languages, or among all that it knows."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second to load: only for who needs it

    loaded = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if languages:
        loaded.set_languages(languages)
    return loaded
