"""The spellings under which an anchor is found, as one expression; and what all of them have in common.

Two rules, so that English is found as before. An anchor of one word is found in its own capitals: a woodman is no
Woodman. One of several words, with one among them that is not everyday, is found in any capitals, with hyphens for its
spaces and with a plural behind it: HARRY POTTER, harry potter, Harry-Potter, the Harry Potters; but no great hall for
the Great Hall.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache, partial

import regex

from dictionaries.dictionary import canonical
from dictionaries.english import is_common
from dictionaries.korean import PARTICLES

# Letters, digits and combining marks. Not the underscore: plain-text books write _Oz_ for italics.
LETTER = r"(?:[^\W_\u02bc]|[\u0300-\u036f])"
_LETTER = re.compile(LETTER)
_RUNNING = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc"
RUNNING = regex.compile(rf"[{_RUNNING}]")
"""A letter of a script that puts no space between words, or puts particles right at them."""
KATAKANA, HANGUL = regex.compile(r"[\p{Katakana}\u30fc]"), regex.compile(r"\p{Hangul}")
MARK = regex.compile(r"\p{M}")
_BEYOND = re.compile("[\u0300-\u036f\u0e00-\u1fff\u2e80-\U0003ffff]")  # those letters, and some others
_JOINTS = r"\-\u2010\u2011\u00b7\u30fb\uff1d\u30a0"
_BETWEEN = re.compile(rf"[\s{_JOINTS}]+")
_WIDE = r"\uff07\uff0d\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff65-\uffdc"  # of another width, in names
_TO_COMPOSE = re.compile(rf"[\u0300-\u036f\u1100-\u11ff\u3099\u309a{_WIDE}]")
_CLUSTER = regex.compile(rf"[{_WIDE}][\uff9e\uff9f]?|\p{{L}}\p{{M}}+|[\u1100-\u115f][\u1160-\u11a7][\u11a8-\u11ff]?")

_JOINED = r"(?:\s+|-|\u2010|\u2011|\u00b7)"  # no set: one beyond Latin-1 takes a millisecond to compile
_JOINED_OR_RUNNING = rf"(?:\s+|[{_JOINTS}]|(?<=[\u0e00-\U0003ffff])(?=[\u0e00-\U0003ffff]))"

Spell = Callable[[str], str]
_BRANCHED = 4  # characters; more make no book faster


def key_of(text: str) -> str:
    """The same for every spelling of one anchor: one case, without spaces, hyphens and middle dots."""
    return _BETWEEN.sub("", canonical(text).casefold())


def varies(anchor: str) -> bool:
    """Whether an anchor is found in other spellings than its own."""
    words = anchor.split(" ")
    if RUNNING.search(anchor):
        return True
    return len(words) > 1 and any(len(word) > 2 and word.isalpha() and not is_common(word) for word in words)


def composed(text: str) -> tuple[str, list[int] | None]:
    """The text in composed letters of ordinary width, and the place in `text` of each of its characters and its end.

    The places are None where nothing had to be changed.
    """
    if not _TO_COMPOSE.search(text):
        return text, None
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for cluster in _CLUSTER.finditer(text):
        wide = cluster.group()[0] >= "\uff00"
        whole = unicodedata.normalize("NFKC" if wide else "NFC", cluster.group())
        if whole == cluster.group():
            continue
        pieces += [text[at : cluster.start()], whole]
        places += [*range(at, cluster.start()), *[cluster.start()] * len(whole)]
        at = cluster.end()
    return "".join((*pieces, text[at:])), [*places, *range(at, len(text) + 1)]


def before_cut_word(text: str, end: int) -> int:
    """The last place at or before `end` that is not inside a word: nothing that ends later is whole."""
    if not 0 < end < len(text) or not _in_word(text[end]):
        return end
    while end > 0 and _in_word(text[end - 1]):
        end -= 1
    return end


def _in_word(char: str) -> bool:
    return bool(_LETTER.match(char)) and (char < "\u0e00" or not RUNNING.match(char) or bool(KATAKANA.match(char)))


def is_simple(text: str) -> bool:
    """Whether a text has neither RUNNING letters nor any to compose: one look, because it is asked of whole books."""
    return text.isascii() or not _BEYOND.search(text)


def plain_pattern(anchors: Iterable[str]) -> "re.Pattern[str]":
    """For texts without RUNNING letters. The anchors are in canonical form, in composed letters."""
    return re.compile(_spaced([anchor for anchor in anchors if not RUNNING.search(anchor)], LETTER) or "(?!)")


def running_pattern(anchors: Iterable[str]) -> "re.Pattern[str]":
    """For texts with RUNNING letters: names stand in the midst of others, Latin ones too."""
    groups = defaultdict(list)
    spaced = []
    for anchor in anchors:
        if RUNNING.search(anchor):
            groups[_before(anchor), _behind(anchor)].append(anchor)
        else:
            spaced.append(anchor)
    any_case = partial(_any_case, joined=_JOINED_OR_RUNNING)  # for a space there may be nothing
    parts = [f"{before}(?:{_branches(names, any_case)}){behind}" for (before, behind), names in sorted(groups.items())]
    return re.compile("|".join(filter(None, [*parts, _spaced(spaced, _apart())])) or "(?!)")


def _spaced(anchors: Iterable[str], letter: str) -> str:
    """Anchors between characters that are no such letter."""
    by_first: defaultdict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    others = []
    for anchor in anchors:
        several = varies(anchor)
        if not _LETTER.match(anchor):
            others.append(anchor)
            continue
        for first in {anchor[0].lower()[0], anchor[0].upper()[0]} if several else {anchor[0]}:
            by_first[first][not several].append(anchor)
    # An end between two letters is none; behind a name in several words a plural may stand.
    end = f"(?:(?!{letter})|(?<!{letter}))"
    plural_end = f"(?:(?!(?!e?[sS](?!{letter})){letter})|(?<!{letter}))"
    names = "|".join(re.escape(first) + _rest(*rest, (plural_end, end)) for first, rest in sorted(by_first.items()))
    parts = [f"(?<!{letter})(?:{names})"] if names else []
    return "|".join([*parts, f"(?:{_branches(others, spelled)}){end}"] if others else parts)


def _rest(several: list[str], exact: list[str], ends: tuple[str, str]) -> str:
    """Anchors behind their first letter. What varies comes first: where both match, it is the longer (see varies())."""
    parts = [f"(?:{_branches(several, _any_case, 1)}){ends[0]}"] if several else []
    return f"(?:{'|'.join([*parts, f'(?:{_branches(exact, spelled, 1)}){ends[1]}'] if exact else parts)})"


def whole(anchor: str) -> "re.Pattern[str]":
    """One anchor where it stands as whole words; an underscore is part of a word here."""
    if RUNNING.search(anchor):
        return re.compile(_before(anchor) + spelled(anchor) + _behind(anchor))
    return re.compile(rf"(?<!\w){spelled(anchor)}(?!\w)")


def spelled(part: str) -> str:
    """Any white space for a space (books wrap lines), any apostrophe for an apostrophe."""
    return "".join({" ": r"\s+", "'": "['\u2019\u2018\u02bc]"}.get(char) or re.escape(char) for char in part)


def _branches(anchors: list[str], spell: Spell, done: int = 0) -> str:
    """Branches on the first characters, one by one, then flat: a bounded depth for any anchors.

    The longer key comes first at every level. Of two anchors that match in one place one begins with the
    other, so the first alternative that matches is the longest.
    """
    if done == _BRANCHED:
        longest_first = sorted(anchors, key=len, reverse=True)
        return "|".join(spell(anchor[done:]) for anchor in longest_first)
    groups = defaultdict(list)
    for anchor in anchors:
        key = anchor[done : done + 1]
        groups[-len(key), spell(key)].append(anchor)
    return "|".join(f"{key}(?:{_branches(names, spell, done + 1)})" for (_, key), names in sorted(groups.items()))


def _any_case(part: str, joined: str = _JOINED) -> str:
    """The same in any case, with a hyphen or a middle dot for a space."""
    return "".join(joined if _BETWEEN.match(char) else _both_cases(char) for char in part)


def _both_cases(char: str) -> str:
    lower, upper = char.lower(), char.upper()
    return f"[{lower}{upper}]" if len(lower) == len(upper) == 1 and lower != upper else spelled(char)


def _before(anchor: str) -> str:
    """What may not stand before an anchor with running letters."""
    char = anchor[0]
    if not RUNNING.match(char):
        return f"(?<!{_apart()})" if _LETTER.match(char) else ""
    if HANGUL.match(char) or KATAKANA.match(char):
        return f"(?<!{_set(HANGUL if HANGUL.match(char) else KATAKANA)})"
    return ""


def _behind(anchor: str) -> str:
    """What may not stand behind it; at a Korean name, what may."""
    char = anchor[-1]
    if HANGUL.match(char):
        return rf"(?={PARTICLES}(?!{_set(HANGUL)}))"
    if RUNNING.match(char):
        return f"(?!{_set(KATAKANA if KATAKANA.match(char) else MARK)})"
    return f"(?!{_apart()})" if _LETTER.match(char) else ""


def _apart() -> str:
    """A letter of a script that puts spaces between words."""
    return f"(?!{_set(RUNNING)}){LETTER}"


@cache
def _set(kind: "regex.Pattern[str]") -> str:
    """The characters of a kind as a set for `re`, which knows no scripts and is ten times as fast as what does."""
    codes = [code for code in range(0x300, 0x33480) if kind.match(chr(code))]
    starts = [code for code in codes if not kind.match(chr(code - 1))]
    ends = [code for code in codes if not kind.match(chr(code + 1))]
    return "[" + "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True)) + "]"


def in_case_of(pattern: str, text: str) -> str:
    """`text` in capitals, in small letters, or with capitals at its words, where `pattern` is so; else as it is."""
    if pattern.isupper() and len(pattern) > 1:
        return text.upper()
    if pattern.islower():
        return text.lower()
    capitalised = all(word[0].isupper() for word in pattern.split())
    return " ".join(word[0].upper() + word[1:] for word in text.split()) if capitalised and text.islower() else text
