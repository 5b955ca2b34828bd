"""A look at the whole corpus before anything runs: whether it can be read, and what looks as if it were not meant."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.errors import BadInput
from storage.files import Files
from tasks.texts import is_read, read_documents
from tasks.texts.quality import GARBLED, Sample, garbled_share, language_of
from tasks.texts.records import normalise
from tasks.texts.tables import SETTING

LEAST_WORDS = 20  # lower-case words of a dictionary, from which its language can be told; names have none
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA")


@dataclass
class Look:
    """What was seen in the files."""

    characters: int = 0
    conversations: bool = False
    anchors: bool = False
    """Whether an anchor of the dictionary occurs."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Parts of the files that are none of the corpus, by reason."""
    sample: Sample = field(default_factory=Sample)


def look_at(files: Files, column: str, dictionary: Dictionary) -> Look:
    """Read every record. Raises BadInput, with file and place, for what cannot be read."""
    look, matcher = Look(), Matcher(dictionary)
    for text in read_documents(files, column):
        if text.dropped:
            look.dropped[text.dropped] += 1
            continue
        look.characters += len(text.text.strip())
        look.conversations = look.conversations or text.answers is not None
        look.anchors = look.anchors or bool(matcher.find(normalise(text.text)))
        look.sample.add(text.text)
    return look


def read_once(setting: str, files: Files, column: str) -> bool:
    """Read all that a setting names now, not in the stage that needs it: whether conversations are among the texts.

    Raises BadInput for what cannot be read, and where there is no text.
    """
    text_there = conversations = False
    try:
        for text in read_documents(files, column):
            text_there = text_there or (not text.dropped and bool(text.text.strip()))
            conversations = conversations or text.answers is not None
    except BadInput as error:
        section = setting.partition(".")[0]
        raise BadInput(str(error).replace(SETTING, f"{section}.text_column")) from error
    if not text_there:
        raise BadInput(f"{setting}: expected text, found none in {', '.join(files.paths)}")
    return conversations


def warnings(look: Look, dictionary: Dictionary, paths: tuple[str, ...]) -> list[str]:
    """A sentence for everything that a user would want to know before a long run."""
    lines = [other_language(look, dictionary)]
    if (garbled := garbled_share(look.sample.text)) > GARBLED:
        lines.append(
            f"{garbled:.0%} of its words look like errors of character recognition or of an encoding "
            "(books have below 1%): anchors that are garbled are not found"
        )
    if look.dropped:
        counted = ", ".join(f"{reason} ({count})" for reason, count in sorted(look.dropped.items()))
        lines.append(f"left out of its files: {counted}; the table documents lists each")
    if unread := unread_in(paths):
        counted = ", ".join(f"{kind or 'no ending'} ({count})" for kind, count in sorted(unread.items()))
        lines.append(f"files in its folders that are of no kind that is read there: {counted}")
    return [f"corpus: {line}" for line in lines if line]


def other_language(look: Look, dictionary: Dictionary) -> str:
    """How the text's script or language differs from the dictionary's; empty where it does not, or nobody can tell."""
    text, anchors = look.sample.text, " ".join(entry.anchor for entry in dictionary.entries)
    scripts = script_of(text), script_of(anchors)
    if all(scripts) and scripts[0] != scripts[1]:
        return f"it is written in {scripts[0]} letters, the dictionary's anchors in {scripts[1]} ones"
    translations = " ".join(translation for entry in dictionary.entries for translation in entry.translations)
    words = [word for word in f"{anchors} {translations}".split() if word.islower()]
    languages = language_of(text), language_of(" ".join(words)) if len(words) >= LEAST_WORDS else None
    if all(languages) and languages[0] != languages[1]:
        return f"it reads as {languages[0]!r} (ISO 639), the dictionary as {languages[1]!r}: do they belong together?"
    return ""


def script_of(text: str) -> str:
    """The script of most letters, as Unicode calls it; empty where there is no letter."""
    names = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text[:50_000] if letter.isalpha())
    script = names.most_common(1)[0][0] if names else ""
    return "East Asian" if script in EAST_ASIAN else script.capitalize()


def unread_in(paths: tuple[str, ...]) -> Counter[str]:
    """Files by ending that lie in these folders and are not read."""
    inside = (file for path in paths if Path(path).is_dir() for file in Path(path).rglob("*"))
    unread = (file for file in inside if file.is_file() and not is_read(file, named=False))
    return Counter(file.suffix for file in unread if not file.name.startswith((".", "~$")))
