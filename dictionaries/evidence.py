"""What one reading of a corpus tells about its words: where they stand capitalised, in which runs, beside what.

A capital at the beginning of a sentence or in a heading is no evidence of a name
("weak"), only one in mid-sentence is ("strong"). Memory grows with the vocabulary, time with the text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain

from dictionaries.english import word_set

WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_PARAGRAPH = re.compile(r"\n\s*\n|<\|[a-z_]+\|>")
_SENTENCE_END = re.compile(r"[.!?:\"\u201c\u201d\u2018*=|<>\[\]]|'|^$")
_ENDING = re.compile(r"(?:['\u2019](?:s|ll|d|ve|re|m)|n['\u2019]t)$")
_INNER = {"of", "the", "de", "von", "van", "la"}
_LONGEST_RUN = 8


_SAID = word_set(
    "said asked answered replied cried exclaimed shouted whispered remarked added continued declared returned inquired "
    "begged grumbled murmured sighed called"
)
_DID = word_set(
    "thought laughed began smiled looked sat walked ran felt knew wanted took told saw stood turned nodded went came "
    "gave spoke lived loved wished hoped"
)
_INTO = word_set("in into across through throughout within near reached reach visit visited leave left")
_TOWARD = word_set("to from of toward towards for at on")
_ARTICLES = word_set("the a an this that these those")
_SHE = word_set("she her hers herself")
_HE = word_set("he him his himself")
_PLURAL = word_set("were are have themselves")

Run = tuple[tuple[str, ...], bool]  # the words of a run, and whether the first one begins a sentence


class Evidence:
    """Counts over texts. `words` is how many there were."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.words = 0
        self.small: Counter[str] = Counter()
        self.strong: Counter[str] = Counter()
        self.weak: Counter[str] = Counter()
        self.runs: Counter[Run] = Counter()
        self.beside: defaultdict[Run, Counter[str]] = defaultdict(Counter)
        for paragraph in chain.from_iterable(map(_PARAGRAPH.split, texts)):
            matches = list(WORD.finditer(paragraph))
            words = [_ENDING.sub("", match.group()) for match in matches]
            self.words += len(words)
            if _is_heading(words):
                self.weak.update(words)
                continue
            ends = [0] + [match.end() for match in matches]
            gaps = [paragraph[end : match.start()] for end, match in zip(ends, matches, strict=False)]
            self._read_paragraph(words, gaps, [match.group() for match in matches])

    def nameness(self, word: str) -> float:
        """The share of a word's uses, sentence openings aside, in which it has a capital."""
        strong = self.strong[word]
        return strong / (strong + self.small[word.lower()]) if strong else 0.0

    def knows(self, word: str) -> bool:
        """Whether the word was read at all, in any case."""
        return bool(self.small[word.lower()] or self.strong[word] or self.weak[word])

    def _read_paragraph(self, words: list[str], gaps: list[str], written: list[str]) -> None:
        at = 0
        while at < len(words):
            if not _capitalised(words[at]):
                if words[at].islower():
                    self.small[words[at]] += 1
                at += 1
                continue
            opens = at == 0 or _SENTENCE_END.search(gaps[at]) is not None
            end = _run_end(words, gaps, at)
            self.weak[words[at]] += opens
            self.strong.update(word for word in words[at + opens : end] if word not in _INNER)
            run = ((*written[at : end - 1], words[end - 1]), opens)
            self.runs[run] += 1
            self.beside[run].update(_features(words, gaps, at, end))
            if written[end - 1] != words[end - 1]:
                self.beside[run]["possessive"] += 1
            at = end


def _capitalised(word: str) -> bool:
    """A capital that may be a name's: not I, not emphasis in capitals."""
    return word[0].isupper() and len(word) > 1 and not word.isupper()


def _is_heading(words: list[str]) -> bool:
    small = [word for word in words if word[0].islower() and len(word) > 4]
    return 0 < len(words) <= 12 and not small and sum(word[0].isupper() for word in words) > len(words) / 2 >= 1


def _run_end(words: list[str], gaps: list[str], start: int) -> int:
    """Behind the last capitalised word that white space, or small words like "of the", join to the first."""
    end = start + 1
    while end < len(words) and end - start < _LONGEST_RUN:
        following = end
        while following < min(len(words), end + 2) and words[following] in _INNER:
            following += 1
        inner = range(end, following + 1)
        if following >= len(words) or not _capitalised(words[following]):
            break
        if any(not gaps[index].isspace() for index in inner):
            break
        end = following + 1
    return end


def _features(words: list[str], gaps: list[str], start: int, end: int) -> list[str]:
    """What stands beside one occurrence, in the same clause: 'Kansas?" asked Dorothy' does not make Kansas speak."""
    before = words[start - 1].lower() if start and gaps[start].isspace() else ""
    earlier = words[start - 2].lower() if start > 1 and gaps[start - 1].isspace() else ""
    after = words[end] if end < len(words) and gaps[end].isspace() else ""
    article = before in _ARTICLES
    before = earlier if article else before
    beside = {
        "article": article,
        "into": before in _INTO,
        "toward": before in _TOWARD,
        "speech": before in _SAID or after in _SAID or after in _DID,
        "plural": after in _PLURAL,
    }
    features = [feature for feature, there in beside.items() if there]
    following = words[end : end + 12]
    named = next((index for index, word in enumerate(following) if _capitalised(word)), len(following))
    nearby = Counter(following[:named])  # another name may take the pronouns after it
    return [*features, *["she"] * sum(nearby[word] for word in _SHE), *["he"] * sum(nearby[word] for word in _HE)]
