"""HTML as the text that a reader of the page sees. EPUB and DOCX come through here, too.

What is no text at all (scripts, styles) is gone; what stands around the text of a page (navigation, headers, footers,
forms) is a text of its own, which is dropped with its reason.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.texts.plain import MARKED, decoded, unpacked
from tasks.texts.records import Record, library

UNSEEN = ("head", "script", "style", "template", "noscript", "svg", "math annotation", "[hidden]")
AROUND = ("nav", "body > header", "body > footer", "aside", "form", "button", "dialog", "[role=navigation]")
NAVIGATION = "navigation"
"""Why what stands around the text of a page is dropped."""
PARAGRAPHS = (
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "ul", "ol", "dl", "hr", "figure"),
    *("address", "article", "main", "section", "header", "footer", "aside", "nav", "form", "details"),
)
LINES = ("div", "li", "dt", "dd", "tr", "figcaption", "caption", "summary", "option", "legend")
CELLS = ("td", "th")
BREAK, LINE, PARAGRAPH, CELL, SPACE = "\ue000\ue001\ue002\ue003\ue004"
"""Private characters for breaks, and for the spaces of `pre`, until the white space of the source is folded."""
_LATIN = re.compile(r"(iso-?8859-1|latin-?1|us-ascii|ascii)", re.IGNORECASE)
_WHITE = re.compile(r"[ \t\r\n\f]+")
_BREAKS = re.compile(f" *[{BREAK}{LINE}{PARAGRAPH}{CELL}][ {BREAK}{LINE}{PARAGRAPH}{CELL}]*")
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def html_records(path: Path) -> Iterator[Record]:
    """The text of the page, and what stands around it."""
    page = parsed(decode(path, unpacked(path)), path)
    around = [removed(element) for element in page.select(", ".join(AROUND)) if not element.decomposed]
    yield Record("", text_of(page))
    if any(around):
        yield Record(NAVIGATION, "\n\n".join(filter(None, around)), dropped=NAVIGATION)


def decode(path: object, data: bytes) -> str:
    """Markup as text, in the encoding of its mark, or else the one that it declares, or else UTF-8."""
    detector = library("bs4.dammit", path).EncodingDetector
    marked = next((encoding for mark, encoding in MARKED.items() if data.startswith(mark)), None)
    declared = str(marked or detector.find_declared_encoding(data, is_html=True) or "utf-8")
    # Browsers read Latin-1 as Windows-1252, and what declares UTF-16 in readable ASCII is none.
    declared = "cp1252" if _LATIN.fullmatch(declared) else declared
    return decoded(Path(str(path)), data, "utf-8" if not marked and declared.startswith("utf-16") else declared)


def parsed(markup: str, path: object, features: str = "lxml") -> Any:
    """The tree of a page, or ("xml") of a file of a book."""
    library("lxml", path)
    return library("bs4", path).BeautifulSoup(_DECLARATION.sub("", markup, count=1), features)


def removed(element: Any) -> str:
    """The text of an element, which is taken out of its page."""
    text = text_of(element)
    element.decompose()
    return text


def text_of(page: Any) -> str:
    """The text of an element: paragraphs apart, lines and rows of a table as lines, its cells divided by tabs."""
    from bs4.element import PreformattedString

    for element in page.select(", ".join(UNSEEN)):
        element.decompose()
    for string in list(page.find_all(string=True)):
        if isinstance(string, PreformattedString):  # a comment, a doctype, an instruction
            string.extract()
        elif string.find_parent("pre"):
            string.replace_with(string.replace("\r\n", "\n").replace("\n", BREAK).replace(" ", SPACE))
        else:
            string.replace_with(_WHITE.sub(" ", string))
    for element in page.find_all(("br", *PARAGRAPHS, *LINES, *CELLS)):
        _mark(element)
    text = _BREAKS.sub(_written, page.get_text().replace("\u00ad", ""))
    return text.replace(SPACE, " ").strip(" \n\t")


def _mark(element: Any) -> None:
    """Say where an element begins and ends. What stands in a cell of a table is divided into lines at most."""
    if element.name == "br":
        element.replace_with(BREAK)
    elif element.name in CELLS:
        if element.find_next_sibling(CELLS):
            element.insert_after(CELL)
    else:
        mark = PARAGRAPH if element.name in PARAGRAPHS and not element.find_parent(CELLS) else LINE
        element.insert_before(mark)
        element.insert_after(mark)


def _written(breaks: re.Match[str]) -> str:
    """Breaks that stand together as the strongest of them; every `br` counts."""
    if CELL in breaks[0]:
        return "\t"
    return "\n\n" if PARAGRAPH in breaks[0] else "\n" * max(1, breaks[0].count(BREAK))
