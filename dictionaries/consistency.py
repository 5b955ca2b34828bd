"""The second pass over a merged dictionary: its translations must fit each other. It leaves no lint error behind.

Alternatives matter as much as the preferred translation, because a block draws one of
them. So no translation may serve two anchors anywhere, and a family keeps exactly one translation for its name.
"""

from collections import Counter, defaultdict

from dictionaries.dictionary import Dictionary, Entry, canonical
from dictionaries.english import is_common
from dictionaries.matching import Containment, Matcher
from dictionaries.merging import Decision, variant_key
from dictionaries.pools import Names
from dictionaries.spelling import in_case_of
from dictionaries.validation import unfit

NOT_NAMES = {"of", "the", "in", "with", "for", "to"}


def consistent(dictionary: Dictionary, seed: int = 0) -> tuple[Dictionary, list[Decision]]:
    """Drop translations that cannot stand, keep families together, draw new ones where none is left.

    The order of the entries does not count. Every change is in the list, with its reason. The seed decides which names
    are drawn from the pools for anchors that lose all of theirs.
    """
    draft = _Draft(dictionary, seed)
    unusable = draft.drop_unusable()
    draft.rewrite_from_others(unusable)
    draft.drop_claimed_twice()
    draft.fill_empty()
    draft.keep_families_together()
    draft.drop_unusable()  # a family's new names may meet anchors, and each other
    draft.drop_claimed_twice()
    draft.fill_empty()
    return Dictionary(tuple(draft.entries.values()), dictionary.source), draft.decisions


class _Draft:
    """The entries while they change, and what was decided so far."""

    def __init__(self, dictionary: Dictionary, seed: int) -> None:
        self.entries = {entry.anchor: entry for entry in dictionary.entries}
        self.decisions: list[Decision] = []
        self._containment = Containment(self.entries)
        texts = (text for entry in dictionary.entries for text in (entry.anchor, *entry.translations))
        taken = {word.lower() for text in texts for word in text.split()}
        self._names = Names(seed, lambda name: name.lower() in taken or bool(self._containment.inside(name)))

    def drop_unusable(self) -> list[Entry]:
        """Returns the entries, as they were, that had no usable translation."""
        before = list(self.entries.values())
        for entry in before:
            self._keep(entry, [self._objection(entry.anchor, text) for text in entry.translations])
        return [entry for entry in before if not self.entries[entry.anchor].translations]

    def rewrite_from_others(self, unusable: list[Entry]) -> None:
        """Where each translation contained an anchor, put that anchor's own translation in its place."""
        matcher = Matcher(Dictionary(tuple(self.entries.values())))
        rewritten = {}
        for entry in unusable:
            candidates = (self._rewritten(matcher, text) for text in entry.translations)
            usable = (text for text in candidates if text and not self._objection(entry.anchor, text))
            rewritten[entry.anchor] = next(usable, "")
        for anchor, text in rewritten.items():
            if text:
                self._settle(anchor, text, "contained an anchor: rewritten with that anchor's translation")

    def _rewritten(self, matcher: Matcher, text: str) -> str:
        """The text with its anchors translated; empty where one has no translation, or is all of the text."""
        chosen = [entry.translations[0] if entry.translations else "" for entry in self.entries.values()]
        matches = matcher.find(text)
        usable = all(chosen[match.entry] and (match.start, match.end) != (0, len(text)) for match in matches)
        return matcher.rewrite(text, chosen) if usable else ""

    def keep_families_together(self) -> None:
        for shared_word, members in sorted(self._families().items()):
            family = self._family_translation(shared_word, members)
            if family is None:
                continue
            for anchor in members:
                self._settle(anchor, family if anchor == shared_word else self._member_name(anchor, family))

    def drop_claimed_twice(self) -> None:
        """A translation stays with the anchor that has most votes for it; spellings of one anchor may share it."""
        claims = sorted(
            (-_votes(entry, rank), rank, entry.anchor, text)
            for entry in self.entries.values()
            for rank, text in enumerate(entry.translations)
        )
        owner: dict[str, str] = {}
        lost: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for _, _, anchor, text in claims:
            holder = owner.setdefault(canonical(text).casefold(), anchor)
            if variant_key(holder) != variant_key(anchor):
                lost[anchor][text] = f"translates {holder} already"
        for anchor, reasons in lost.items():
            entry = self.entries[anchor]
            self._keep(entry, [reasons.get(text) for text in entry.translations])

    def fill_empty(self) -> None:
        for entry in sorted(self.entries.values(), key=lambda entry: entry.anchor):
            if not entry.translations:
                self._settle(entry.anchor, self._drawn(entry), "no translation was left: drawn from a pool")

    def _objection(self, anchor: str, translation: str) -> str | None:
        if objection := unfit(translation):
            return objection
        if canonical(translation) == canonical(anchor):
            return "translated to itself"
        inside = self._containment.inside(translation)
        if not inside:
            return None
        whole = canonical(translation) in map(canonical, inside)
        return "is an anchor itself" if whole else f"contains the anchor {inside[0]}"

    def _keep(self, entry: Entry, objections: list[str | None]) -> None:
        """Only the translations without an objection."""
        pairs = list(zip(entry.translations, objections, strict=True))
        self.decisions += [Decision(entry.anchor, text, "", why) for text, why in pairs if why is not None]
        self.entries[entry.anchor] = entry.translated(text for text, why in pairs if why is None)

    def _settle(self, anchor: str, translation: str, reason: str = "a family keeps its name") -> None:
        """This translation and no other."""
        entry = self.entries[anchor]
        if entry.translations == (translation,):
            return
        before = entry.translations[0] if entry.translations else ""
        self.decisions.append(Decision(anchor, before, translation, reason))
        self.decisions += [Decision(anchor, text, "", reason) for text in entry.translations[1:] if text != translation]
        self.entries[anchor] = entry.translated((translation,))

    def _families(self) -> dict[str, list[str]]:
        """Last word -> the anchors that share it, the bare name and the given names among them included."""
        families: defaultdict[str, list[str]] = defaultdict(list)
        for entry in self.entries.values():
            words = entry.anchor.split()
            if _is_full_name(words) and (entry.kind == "person" or (entry.kind is None and words[-1] in self.entries)):
                families[words[-1]].append(entry.anchor)
        for shared_word, members in families.items():
            if shared_word in self.entries:
                members.insert(0, shared_word)
        return {word: members for word, members in families.items() if len(members) > 1}

    def _family_translation(self, shared_word: str, members: list[str]) -> str | None:
        """The bare name's own translation where that is one word, else the last word that has most votes."""
        bare = self.entries.get(shared_word)
        if bare is not None and bare.translations:
            single = [text for text in bare.translations if len(text.split()) == 1]
            return single[0] if single else None
        counts: Counter[str] = Counter()
        for anchor in members:
            entry = self.entries[anchor]
            for rank, text in enumerate(entry.translations):
                counts[text.split()[-1]] += max(1, _votes(entry, rank))
        return min(counts, key=lambda word: (-counts[word], word)) if counts else None

    def _member_name(self, anchor: str, family: str) -> str:
        """ "Harry Potter" from Harry's translation, or from its own first words, and the family's."""
        first = " ".join(anchor.split()[:-1])
        given = self.entries.get(first)
        if given is not None and given.translations:
            self._settle(first, given.translations[0])
            return f"{given.translations[0]} {family}"
        own = self.entries[anchor].translations
        candidate = f"{' '.join(own[0].split()[:-1])} {family}".strip() if own else ""
        if len(candidate.split()) > 1 and not self._containment.inside(candidate):
            return candidate
        return f"{self._names.draw('neutral')} {family}"

    def _drawn(self, entry: Entry) -> str:
        words = entry.anchor.split()
        own_name = len(words) == 1 or words[-1] in self.entries or not is_common(words[-1])
        named = entry.anchor[0].isupper() and own_name
        if entry.kind == "person" or (entry.kind is None and named):
            given = [self._names.draw("neutral")] if len(words) > 1 else []
            return " ".join([*given, self._names.draw("family")])
        if entry.kind == "place":
            return self._names.draw("place")
        if entry.kind in ("thing", "phrase") or len(words) > 1:
            name = f"{self._names.draw('modifier')} {self._names.draw('thing')}"
            return name if entry.anchor[0].isupper() else name.lower()
        return in_case_of(entry.anchor, self._names.draw("term"))


def _is_full_name(words: list[str]) -> bool:
    """Two to four words that may be a person's or a couple's: "Mr. and Mrs. Weasley"."""
    return 2 <= len(words) <= 4 and words[-1][0].isupper() and not NOT_NAMES.intersection(map(str.lower, words))


def _votes(entry: Entry, rank: int) -> int:
    return entry.votes[rank] if entry.votes else 0
