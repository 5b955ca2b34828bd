"""What is wrong with a dictionary, rule by rule. Errors stop a run, warnings go to the report.

An error is a dictionary that defeats the method (the baseline would read an anchor in
the translated text); a warning is a cost or an oddity that the rest of the path bears. METHOD.md 5 has the hazards.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from dictionaries.dictionary import Dictionary, canonical
from dictionaries.english import base_forms, is_common, is_function_word
from dictionaries.evidence import WORD
from dictionaries.languages import SAMPLED, has_capitals, other_than_english
from dictionaries.matching import Containment, Matcher
from dictionaries.merging import splits, variant_key, without_possessive
from dictionaries.spelling import RUNNING
from dictionaries.validation import unfit
from storage.errors import BadInput

Severity = Literal["error", "warning"]

UNSPOKEN = "language that a rule does not speak"
RULES: dict[str, tuple[Severity, str]] = {
    "translated to nothing": ("error", "anchors without a translation, or with an empty one"),
    "translated to itself": ("error", "pairs whose translation is the anchor"),
    "translation is an anchor": ("error", "pairs whose translation is another anchor"),
    "translation contains an anchor": ("error", "pairs whose translation has another anchor in it, as whole words"),
    "translation contains its own anchor": ("error", "pairs whose translation is the anchor with further words"),
    "unfit text": ("error", "anchors or translations with control characters, markup, no letter, or far too long"),
    "anchor begins another anchor": ("warning", "pairs of an anchor and the same anchor with further words"),
    "anchor splits into anchors": ("warning", "anchors whose words are all anchors, or that are another's possessive"),
    "spellings translated apart": ("warning", "expressions whose spellings (case, hyphens, 's) differ in translation"),
    "several translations": ("warning", "anchors with more than one translation: a block draws one of them"),
    "translation used twice": ("warning", "translations that stand for several anchors"),
    "translation starts with a function word": ("warning", "pairs whose translation begins with the, of, a ..."),
    "short anchor": ("warning", "anchors of one or two letters, or of one syllable or sign: often ambiguous"),
    "anchor is a common word": ("warning", "anchors that are everyday words, small letters or in the reference list"),
    "anchor not in the corpus": ("warning", "anchors that the target corpus does not have"),
    "translation in the corpus": ("warning", "pairs whose translation is a name or phrase of the target corpus"),
    "translation costs more tokens": (
        "warning",
        "pairs whose translation has over twice the anchor's tokens, and 3 more",
    ),
    "names without a translation": ("warning", "capitalised words outside the reference list that no anchor covers"),
    UNSPOKEN: (
        "warning",
        "rules that hang on capitals or on lists of English words, and say little about this corpus",
    ),
}
_EXAMPLES = 5

Findings = Iterator[tuple[str, str, tuple[str, ...]]]  # (rule, one example, the anchors that it is about)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that found something. `count` counts what RULES[rule] says; `examples` are some of it, in words."""

    rule: str
    severity: Severity
    count: int
    examples: tuple[str, ...]


def lint(
    dictionary: Dictionary,
    corpus: Iterable[str] | None = None,
    tokens_of: Callable[[str], int] | None = None,
    reference: Collection[str] | None = None,
) -> list[Finding]:
    """The rules that found something, errors first, else in the order of RULES.

    `corpus`: texts of the target, for the rules about occurrence. `tokens_of`: how many tokens a text costs.
    `reference`: everyday words in small letters, instead of the list that comes with the package.
    """
    examples: defaultdict[str, list[str]] = defaultdict(list)
    for rule, example, _ in _breaches(dictionary, corpus, tokens_of, reference):
        examples[rule].append(example)
    findings = [
        Finding(rule, severity, len(examples[rule]), tuple(examples[rule][:_EXAMPLES]))
        for rule, (severity, _) in RULES.items()
        if examples[rule]
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def rules_by_anchor(dictionary: Dictionary, corpus: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The rules that each anchor breaks, in the order of RULES; for whoever shows the dictionary entry by entry."""
    broken: defaultdict[str, set[str]] = defaultdict(set)
    for rule, _, anchors in _breaches(dictionary, corpus):
        for anchor in anchors:
            broken[anchor].add(rule)
    return {anchor: [rule for rule in RULES if rule in rules] for anchor, rules in broken.items()}


def _breaches(
    dictionary: Dictionary,
    corpus: Iterable[str] | None,
    tokens_of: Callable[[str], int] | None = None,
    reference: Collection[str] | None = None,
) -> Findings:
    everyday = is_common if reference is None else _listed(reference)
    yield from _about_texts(dictionary)
    yield from _about_pairs(dictionary)
    yield from _about_anchors(dictionary, everyday)
    yield from _about_translations(dictionary)
    if tokens_of is not None:
        yield from _about_tokens(dictionary, tokens_of)
    if corpus is not None:
        yield from _about_corpus(dictionary, corpus, everyday)


def refuse_errors(findings: Iterable[Finding]) -> None:
    """BadInput with the first error of a lint, for whoever must stop there."""
    if errors := [finding for finding in findings if finding.severity == "error"]:
        others = f" (and {len(errors) - 1} other rules are broken)" if len(errors) > 1 else ""
        raise BadInput(
            f"the dictionary has {errors[0].count} times: {errors[0].rule}, for example {errors[0].examples[0]}"
            f"{others}: change or remove these entries; `nepenthe dictionary lint` lists them all"
        )


def _listed(reference: Collection[str]) -> Callable[[str], bool]:
    words = frozenset(word.lower() for word in reference)
    return lambda word: not words.isdisjoint(base_forms(word.lower()))


def _pairs(dictionary: Dictionary) -> Iterator[tuple[str, str]]:
    for entry in dictionary.entries:
        for translation in entry.translations:
            yield entry.anchor, translation


def _shown(anchor: str, translation: str, note: str = "") -> str:
    return f"{anchor} -> {translation}{note}"


def _about_texts(dictionary: Dictionary) -> Findings:
    for entry in dictionary.entries:
        if not entry.translations or not all(map(str.strip, entry.translations)):
            yield "translated to nothing", entry.anchor, (entry.anchor,)
        for text in (entry.anchor, *entry.translations):
            objection = unfit(text)
            if objection not in (None, "empty"):
                yield "unfit text", f"{text[:80]!r} ({objection})", (entry.anchor,)


def _about_pairs(dictionary: Dictionary) -> Findings:
    containment = Containment(entry.anchor for entry in dictionary.entries)
    for anchor, translation in _pairs(dictionary):
        if canonical(translation) == canonical(anchor):
            yield "translated to itself", _shown(anchor, translation), (anchor,)
        inside = containment.inside(translation)
        others = [other for other in inside if other != anchor]
        if any(canonical(other) == canonical(translation) for other in others):
            yield "translation is an anchor", _shown(anchor, translation), (anchor,)
        if others:  # an anchor that is the whole translation counts here too: 94 of the 263
            yield "translation contains an anchor", _shown(anchor, translation, f" (has {others[0]})"), (anchor,)
        if anchor in inside and canonical(translation) != canonical(anchor):
            yield "translation contains its own anchor", _shown(anchor, translation), (anchor,)
        first = WORD.search(translation)
        if first and is_function_word(first.group()) and len(translation.split()) > 1:
            yield "translation starts with a function word", _shown(anchor, translation), (anchor,)


def _about_anchors(dictionary: Dictionary, everyday: Callable[[str], bool]) -> Findings:
    anchors = {entry.anchor for entry in dictionary.entries}
    for entry in dictionary.entries:
        words = entry.anchor.split(" ")
        for length in range(1, len(words)):
            if " ".join(words[:length]) in anchors:
                shorter = " ".join(words[:length])
                yield "anchor begins another anchor", f"{shorter}, {entry.anchor}", (shorter, entry.anchor)
        if splits(entry.anchor, anchors):
            yield "anchor splits into anchors", entry.anchor, (entry.anchor,)
        if len(entry.anchor) <= (1 if RUNNING.search(entry.anchor) else 2):
            yield "short anchor", entry.anchor, (entry.anchor,)
        if len(words) == 1 and everyday(entry.anchor):
            yield "anchor is a common word", entry.anchor, (entry.anchor,)
        if len(entry.translations) > 1:
            yield "several translations", _shown(entry.anchor, ", ".join(entry.translations[:4])), (entry.anchor,)


def _about_translations(dictionary: Dictionary) -> Findings:
    """Two anchors, one translation; one expression, two translations."""
    users: defaultdict[str, dict[str, str]] = defaultdict(dict)
    spellings: defaultdict[str, dict[str, frozenset[str]]] = defaultdict(dict)
    for entry in dictionary.entries:
        base = variant_key(without_possessive(entry.anchor))
        spellings[base][entry.anchor] = frozenset(variant_key(without_possessive(t)) for t in entry.translations)
        for translation in entry.translations:
            users[canonical(translation).casefold()].setdefault(base, entry.anchor)
    for translation, anchors in users.items():
        if len(anchors) > 1 and translation:
            users_named = tuple(anchors.values())
            yield "translation used twice", f"{translation}: {', '.join(users_named[:4])}", users_named
    for variants in spellings.values():
        if len(set(variants.values())) > 1:
            yield "spellings translated apart", ", ".join(variants), tuple(variants)


def _about_tokens(dictionary: Dictionary, tokens_of: Callable[[str], int]) -> Findings:
    for anchor, translation in _pairs(dictionary):
        cost, was = tokens_of(translation), tokens_of(anchor)
        if cost > 2 * was and cost >= was + 3:
            yield "translation costs more tokens", _shown(anchor, translation, f" ({was} -> {cost})"), (anchor,)


def _about_corpus(dictionary: Dictionary, corpus: Iterable[str], everyday: Callable[[str], bool]) -> Findings:
    """One pass over the texts; memory grows with what is found, not with the corpus."""
    anchors = Matcher(dictionary)
    # Of a translation in everyday words alone it is no wonder that the corpus has it.
    spelled = {canonical(text) for _, text in _pairs(dictionary) if not all(map(everyday, WORD.findall(text)))}
    translations = Dictionary.from_mapping(dict.fromkeys(spelled, "-"))
    finder = Matcher(translations)
    used, known, uncovered, names = set(), set(), Counter[str](), 0
    texts = iter(corpus)
    sample = list(islice(texts, SAMPLED))
    for text in chain(sample, texts):
        matches = anchors.find(text)
        used |= {match.entry for match in matches}
        known |= {translations.entries[match.entry].anchor for match in finder.find(text)}
        spans = [(match.start, match.end) for match in matches]
        words = list(_names(text, everyday))
        names += len(words)
        uncovered.update(word for at, word in words if not _covered(spans, at))
    yield from _not_found(dictionary, used)
    for anchor, translation in _pairs(dictionary):
        if canonical(translation) in known:
            yield "translation in the corpus", _shown(anchor, translation), (anchor,)
    share = f" ({uncovered.total() / max(1, names):.1%} of {names:,} such words in all)"
    for rank, (word, count) in enumerate(sorted(uncovered.items(), key=lambda item: (-item[1], item[0]))):
        yield "names without a translation", f"{word}, {count} times{share if rank == 0 else ''}", ()
    yield from _not_spoken(sample, everyday is is_common)


def _not_spoken(sample: list[str], english_list: bool) -> Findings:
    """What a user of another language would take for a clean bill."""
    capitals = has_capitals(sample)
    if not capitals:
        yield UNSPOKEN, "names without a translation: the script has no capitals", ()
    if not capitals or other_than_english(sample):
        yield UNSPOKEN, "translation starts with a function word: its list is English", ()
        if english_list:
            yield UNSPOKEN, "anchor is a common word: its list is English (dictionary.everyday takes another)", ()


def _names(text: str, everyday: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    for match in WORD.finditer(text):
        word = without_possessive(match.group().removesuffix("'S").removesuffix("\u2019S"))
        if word[0].isupper() and len(word) > 1 and not all(everyday(part) for part in word.split("-")):
            yield match.start(), word


def _covered(spans: list[tuple[int, int]], at: int) -> bool:
    index = bisect_right(spans, at, key=lambda span: span[0]) - 1
    return index >= 0 and at < spans[index][1]


def _not_found(dictionary: Dictionary, used: set[int]) -> Findings:
    """The longest match hides an anchor that only occurs inside others: it is in the corpus all the same."""
    anchors = [entry.anchor for index, entry in enumerate(dictionary.entries) if index in used]
    missing = [entry.anchor for index, entry in enumerate(dictionary.entries) if index not in used]
    containment = Containment(missing)
    hidden = {anchor for longer in anchors for anchor in containment.inside(longer)}
    for anchor in missing:
        if anchor not in hidden:
            yield "anchor not in the corpus", anchor, (anchor,)
