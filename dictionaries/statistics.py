"""The extractor that needs no language model: expressions that the target writes as names, far oftener than others.

Rarity alone says little, since every book has rare words. A capital in mid-sentence is
the evidence; the reference decides whether the name is peculiar to the target. Words in small letters count only where
there is a reference that does not know them, and need three times the occurrences.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import log

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.english import base_forms, is_common, is_function_word, listed, names_nobody, noun_class
from dictionaries.evidence import Evidence
from dictionaries.languages import has_capitals
from dictionaries.naming import FORMAL_TITLES, Namer
from storage.errors import BadInput

MOST_WORDS = 6
OVERREPRESENTED = 8.0  # times as frequent as in the reference
SMALL_LETTERS = 3
A_NAME = 0.5  # share of capitals in mid-sentence
MUCH_SPEECH, MUCH_SPEECH_SHARE = 5, 0.1  # times that an everyday word speaks, of a character's
PROPOSED = "an everyday word in capitals: for a person to decide"
NO_CAPITALS = (
    "expected a text with capital letters, by which word statistics find names, found a script that has none: "
    'set dictionary.extract = "llm", or give a dictionary of your own in dictionary.curated'
)

Span = tuple[str, ...]
Segments = list[tuple[Span, int, Counter[str]]]  # words of a run, how often, what stands beside it


@dataclass(frozen=True, slots=True)
class Extraction:
    """The dictionary, and the candidates that were seen often enough but left out, with the reason of each.

    `proposed` are those among them that a person should decide: everyday words that only stand capitalised.
    """

    dictionary: Dictionary
    left_out: tuple[tuple[str, str], ...]
    proposed: Dictionary = field(default_factory=lambda: Dictionary(()))


def extract(
    corpus: Iterable[str],
    reference: Iterable[str] = (),
    *,
    min_count: int = 3,
    max_anchors: int = 1500,
    seed: int = 0,
) -> Extraction:
    """Anchors of the target corpus with one translation each, most peculiar first until `max_anchors`.

    `corpus` and `reference` are texts; without a reference only the everyday words that come with the package are
    known to be ordinary. One pass over each, in time linear in their length. The same texts and seed give the same
    dictionary. BadInput for scripts without capitals.
    """
    corpus = list(corpus)
    if not has_capitals(corpus):
        raise BadInput(NO_CAPITALS)
    target, ordinary = Evidence(corpus), Evidence(reference)
    segments = _segments(target)
    counts = _candidates(segments, target, ordinary, min_count)
    left_out: dict[str, str] = {}
    scores: dict[Span, float] = {}
    for span, count in counts.items():
        objection = _objection(span, count, target, min_count) or _too_ordinary(span, count, target, ordinary)
        if objection is None:
            scores[span] = _surprise(count, target.words, _uses(ordinary, span), ordinary.words)
        elif count >= min_count and not is_function_word(span[0]):
            left_out[" ".join(span)] = objection
    everyday = {span for span in scores if _is_everyday(span, counts, target, segments)}
    left_out |= {" ".join(span): PROPOSED for span in everyday}
    ranked = sorted(scores.keys() - everyday, key=lambda span: (-scores[span], span))
    left_out |= {" ".join(span): "beyond max_anchors" for span in ranked[max_anchors:]}
    namer = _namer([*ranked[:max_anchors], *sorted(everyday)], segments, target, seed)
    used, proposed = (_named(spans, namer) for spans in (ranked[:max_anchors], sorted(everyday)))
    return Extraction(used, tuple(sorted(left_out.items())), _things_named_last(proposed, namer))


def _candidates(segments: Segments, target: Evidence, ordinary: Evidence, min_count: int) -> dict[Span, int]:
    """Whatever may be an anchor, with how often it stands by itself."""
    counts = _multi_word(segments, min_count)
    counts |= _left_over(segments, set(counts)) | _invented(target, ordinary)
    return counts | _rest_of_names(counts, min_count)


def _segments(target: Evidence) -> Segments:
    """The runs without ordinary words that a sentence's beginning gave a capital, and without Mr and Mrs."""
    segments = []
    for (words, opens), count in target.runs.items():
        beside = Counter(target.beside[words, opens])
        while words and opens and (is_function_word(words[0]) or target.nameness(words[0]) < A_NAME):
            if words[0].lower() in ("the", "a", "an"):
                beside["article"] += count
            opens = not (len(words) > 1 and words[1][0].isupper())  # a small word after it is dropped as well
            words = words[1:]
            while words and words[0].islower():
                words = words[1:]
        if len(words) > 1 and words[0] in FORMAL_TITLES and words[1][0].isupper():
            words = words[1:]
        if words:
            segments.append((words, count, beside))
    return segments


def _spans(words: Span, length: int) -> Iterator[tuple[int, Span]]:
    for start in range(len(words) - length + 1):
        span = words[start : start + length]
        if span[0][0].isupper() and span[-1][0].isupper():
            yield start, span


def _covered(words: Span, chosen: set[Span]) -> list[bool]:
    """Which words lie in a chosen expression: leftmost, then longest, as the matcher will see them."""
    covered = [False] * len(words)
    at = 0
    while at < len(words):
        longest = next((n for n in range(len(words) - at, 1, -1) if words[at : at + n] in chosen), 0)
        covered[at : at + longest] = [True] * longest
        at += max(1, longest)
    return covered


def _multi_word(segments: Segments, min_count: int) -> dict[Span, int]:
    """Expressions of several words, the longest first: a shorter one must occur often enough outside of them."""
    chosen: dict[Span, int] = {}
    for length in range(MOST_WORDS, 1, -1):
        counts: Counter[Span] = Counter()
        longer = set(chosen)
        for words, count, _ in segments:
            if len(words) >= length:
                covered = _covered(words, longer)
                for start, span in _spans(words, length):
                    counts[span] += 0 if all(covered[start : start + length]) else count
        chosen |= {span: count for span, count in counts.items() if count >= min_count}
    return chosen


def _left_over(segments: Segments, chosen: set[Span]) -> dict[Span, int]:
    """Single words, where no chosen expression has them."""
    counts: Counter[Span] = Counter()
    for words, count, _ in segments:
        for word, covered in zip(words, _covered(words, chosen), strict=True):
            if not covered and word[0].isupper():
                counts[word,] += count
    return counts


def _rest_of_names(counts: dict[Span, int], min_count: int) -> dict[Span, int]:
    """Gale, where there are Dorothy and Dorothy Gale: it may stand alone in a text that we have not seen."""
    rest: Counter[Span] = Counter()
    for span, count in counts.items():
        if len(span) > 1 and any(counts.get((word,), 0) >= min_count and not is_common(word) for word in span):
            rest.update({(word,): count for word in span if word[0].isupper() and not is_common(word)})
    return {word: count for word, count in rest.items() if counts.get(word, 0) < min_count}


def _invented(target: Evidence, ordinary: Evidence) -> dict[Span, int]:
    """Words in small letters that neither the reference nor the list of everyday words knows in any form.

    Their counts are divided by SMALL_LETTERS, so that they meet the same thresholds as names.
    """
    if not ordinary.words:
        return {}
    return {
        (word,): count // SMALL_LETTERS
        for word, count in target.small.items()
        if len(word) > 3
        and not word.endswith("ly")
        and target.nameness(word.capitalize()) < A_NAME
        and not any(is_common(part) for part in word.split("-"))
        and not any(ordinary.knows(form) for form in base_forms(word))
    }


def _objection(span: Span, count: int, target: Evidence, min_count: int) -> str | None:
    """Why an expression is no anchor, as far as the target itself tells."""
    if count < min_count:
        return "too rare"
    if len(span) > 1:
        return "an everyday name beside a name" if _is_accident(span, count, target) else None
    if span[0].islower():
        return None
    word = span[0]
    if word in listed("everyday_names"):
        return "an everyday name"
    if target.nameness(word) < A_NAME:
        return "mostly in small letters"
    needed = min_count if not is_common(word) else 2 * min_count
    return "an everyday word" if target.strong[word] < needed and is_common(word) else None


def _is_accident(span: Span, count: int, target: Evidence) -> bool:
    """On Saturday Dorothy ... is one, the March Hare is none: the Hare is hardly ever without its March."""
    others = [word for word in span if word not in listed("everyday_names") and not is_function_word(word)]
    opens = span[0] in listed("everyday_names") and not is_function_word(span[1])
    closes = span[-1] in listed("everyday_names") and not is_function_word(span[-2])
    return (opens or closes) and all(target.strong[word] > 2 * count for word in others)


def _too_ordinary(span: Span, count: int, target: Evidence, ordinary: Evidence) -> str | None:
    if all(word in listed("everyday_names") or is_function_word(word) for word in span):
        return "an everyday name"
    if not ordinary.words:
        return None
    expected = (_uses(ordinary, span) + 0.5) * target.words / ordinary.words
    return "as common in the reference" if count < OVERREPRESENTED * expected else None


def _uses(ordinary: Evidence, span: Span) -> int:
    """How often the reference has the expression as a name; of several words, at most as often as the rarest."""
    return min(ordinary.strong[word] + ordinary.weak[word] for word in span if not is_function_word(word))


def _surprise(count: int, words: int, other_count: int, other_words: int) -> float:
    """Dunning's log-likelihood ratio of the expression's frequencies in both corpora."""
    share = (count + other_count) / (words + other_words)
    return 2 * sum(
        seen * log(seen / (share * size)) for seen, size in ((count, words), (other_count, other_words)) if seen
    )


def _is_everyday(span: Span, counts: dict[Span, int], target: Evidence, segments: Segments) -> bool:
    """Soup, Five, King: an everyday word that is a name here only by its capital.

    An animal or a role that speaks, or that a longer name ends with (the Cheshire Cat), is a character. Whatever else
    the word names needs far more speech, and a number or a king is never one.
    """
    word = span[0]
    if len(span) > 1 or word[0].islower() or not is_common(word):
        return False
    named = noun_class(word)
    if names_nobody(word):
        return True
    speech = sum(features["speech"] for words, _, features in segments if words == span)
    if named is None:
        return speech < max(MUCH_SPEECH, MUCH_SPEECH_SHARE * counts[span])
    return speech == 0 and not any(len(longer) > 1 and longer[-1] == word for longer in counts)


def _namer(spans: list[Span], segments: Segments, target: Evidence, seed: int) -> Namer:
    """Knows what stands beside each expression."""
    beside = {span: Counter[str]() for span in spans}
    for words, count, features in segments:
        if words in beside:
            beside[words] += features
            beside[words]["uses"] += count
    return Namer(beside, target.knows, seed)


def _things_named_last(proposed: Dictionary, namer: Namer) -> Dictionary:
    """Soup is no person. Its name is drawn behind all others, which stay as they were."""
    things = ((entry, namer.as_thing(tuple(entry.anchor.split()))) for entry in proposed.entries)
    return Dictionary(
        tuple(replace(entry, translations=(name,), kind="thing") if name else entry for entry, name in things)
    )


def _named(spans: list[Span], namer: Namer) -> Dictionary:
    """Kinds by what stands beside each expression; translations that fit them."""
    return Dictionary(
        tuple(Entry(" ".join(span), (namer.translations[span],), namer.kind(span), (), "statistics") for span in spans)
    )
