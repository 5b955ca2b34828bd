"""DOCX: headings, paragraphs, tables and notes in their order, through mammoth's HTML. Deleted text stays deleted."""

from collections.abc import Iterator
from pathlib import Path

from storage.errors import BadInput
from tasks.texts.archives import archive
from tasks.texts.html import parsed, text_of
from tasks.texts.records import Record, library

DOCUMENT = "word/document.xml"
NOTES = "a[href^='#footnote'], a[href^='#endnote']"
"""Marks of notes and the arrows back: no words of the text."""


def docx_records(path: Path) -> Iterator[Record]:
    """The whole document as one text; notes stand at its end."""
    mammoth = library("mammoth", path)
    with archive(path, "a Word document (.docx)") as opened:
        if DOCUMENT not in opened.namelist():
            raise BadInput(f"{path}: expected a Word document, found no {DOCUMENT} in it: save it as .docx again")
    with path.open("rb") as file:
        try:
            written = mammoth.convert_to_html(file, convert_image=mammoth.images.img_element(lambda image: {"src": ""}))
        except Exception as error:  # whatever a parser says of a document that is broken inside
            raise BadInput(f"{path}: expected a Word document, found {error}: open it and save it again") from error
    page = parsed(written.value, path)
    for mark in page.select(NOTES):
        mark.decompose()
    yield Record("", text_of(page))
