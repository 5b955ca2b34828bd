"""PDF: the text of all pages as one, without running heads and page numbers, with words and paragraphs put together."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from storage.errors import BadInput
from tasks.texts.records import Record, library

HEADS, NO_TEXT = "running heads and page numbers", "page without text"
"""Why a part of a PDF is dropped."""
LEAST_REPEATS = 3  # of a line at the edge of pages that is no part of the text
DEEPEST = 3  # lines of heads at one edge of a page: a title, a chapter, a number
SHORT = 0.75  # of the width of full lines: such a line ends a paragraph
HYPHENS = ("-", "\u00ad")
_DIVIDED, _WORD = re.compile(r"(\w+)([-\u00ad])$"), re.compile(r"\w+")
_NO_SPACES = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")  # scripts that set none between words
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_PLAIN = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00a0": " "})


def pdf_records(path: Path) -> Iterator[Record]:
    """The whole document as one text; what was taken out of it, and every page that holds no text, with its reason."""
    pages = _pages(path)
    if not any(pages):
        raise BadInput(
            f"{path}: expected text, found none on any of its {len(pages)} pages (scanned pages are images): "
            "run optical character recognition first (ocrmypdf) and give what it writes"
        )
    heads = take_heads(pages)
    yield Record("", joined([line for page in pages for line in page]))
    if heads:
        yield Record("heads", "\n".join(heads), dropped=HEADS)
    for number, page in enumerate(pages, start=1):
        if not page:
            yield Record(f"page {number}", dropped=NO_TEXT)


def _pages(path: Path) -> list[list[str]]:
    """The lines of every page that hold something."""
    pypdf = library("pypdf", path)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what is in the way is said in our words
    try:
        reader = pypdf.PdfReader(path)
        locked = reader.is_encrypted and not reader.decrypt("")
        pages = [] if locked else [_lines(path, number, page) for number, page in enumerate(reader.pages, start=1)]
    except BadInput:
        raise
    except Exception as error:  # whatever a parser says of a file that is broken
        raise BadInput(f"{path}: expected a whole PDF, found {error or type(error).__name__}: get it again") from error
    if locked:
        raise BadInput(
            f"{path}: expected a PDF that can be read, found that it has a password: "
            "save it without one (qpdf --decrypt --password=... IN OUT)"
        )
    if not pages:
        raise BadInput(f"{path}: expected pages, found none: get the file again")
    return pages


def _lines(path: Path, number: int, page: Any) -> list[str]:
    try:
        text = page.extract_text().translate(_PLAIN)
    except Exception as error:
        raise BadInput(
            f"{path}, page {number}: expected a page that can be read, found {error or type(error).__name__}: "
            "print the file to a new PDF, or take the page out"
        ) from error
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def take_heads(pages: Sequence[list[str]]) -> list[str]:
    """Take out of the pages the lines at their edges that repeat, numbers aside. Returns them as they were taken."""
    taken: list[str] = []
    for edge in (0, -1) * DEEPEST:
        keys = Counter(_key(page[edge]) for page in pages if page)
        for page in pages:
            if page and _repeats(keys[_key(page[edge])], _key(page[edge]), len(pages)):
                taken.append(page.pop(edge).strip())
    return taken


def _key(line: str) -> str:
    """What repeats of a head whose number changes; of a bare page number nothing is left."""
    return re.sub(r"[\W_]+", " ", _NUMBER.sub("", line)).strip().casefold()


def _repeats(count: int, key: str, pages: int) -> bool:
    """A bare number is a page's where most pages have one: a few may be numbers of chapters."""
    return pages > 1 and count >= (max(2, pages / 2) if not key else min(LEAST_REPEATS, pages))


def joined(lines: Sequence[str]) -> str:
    """Lines as running text: a short line ends a paragraph, and a word divided at the end of a line is put together."""
    width = sorted(map(len, lines))[min(len(lines) - 1, int(0.9 * len(lines)))] if lines else 0
    words = set(re.findall(r"\w+(?:-\w+)*", "\n".join(lines)))
    paragraphs = [""]
    for line in map(str.strip, lines):
        paragraphs[-1] = _continued(paragraphs[-1], line, words)
        if len(line) < SHORT * width and not line.endswith(HYPHENS):
            paragraphs.append("")
    return "\n".join(paragraphs).strip()


def _continued(text: str, line: str, words: set[str]) -> str:
    """A paragraph and its next line. A hyphen stays where the document has the word with it elsewhere."""
    divided, rest = _DIVIDED.search(text), _WORD.match(line)
    if divided and rest:
        first, hyphen = divided.groups()
        with_hyphen = f"{first}-{rest[0]}" in words and f"{first}{rest[0]}" not in words
        stays = hyphen == "-" and (with_hyphen or not rest[0][0].islower())
        return (text if stays else text[:-1]) + line
    apart = text and not text.endswith("\u2014") and not (_NO_SPACES.match(text[-1]) and _NO_SPACES.match(line))
    return text + " " * bool(apart) + line
