"""Documents that are zip archives: EPUB and DOCX, opened, or refused with what is wrong with them.

A chapter of an EPUB (a file of the spine) is a document, in reading order; cover and contents are dropped. A DOCX comes
through mammoth's HTML: headings, paragraphs, tables and notes in their order. Deleted text stays deleted.
"""

import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zlib import error as ZlibError

from storage.errors import BadInput
from tasks.texts.html import decode, parsed, text_of
from tasks.texts.records import Record, library

OLD_OFFICE = b"\xd0\xcf\x11\xe0"
CONTAINER, LOCKS = "META-INF/container.xml", "META-INF/encryption.xml"
COVER, CONTENTS = "cover", "contents"
"""Why a part of a book is dropped."""
TYPES = {"cover": COVER, "titlepage-cover": COVER, "toc": CONTENTS, "landmarks": CONTENTS, "page-list": CONTENTS}
"""What a part says that it is (epub:type, or a guide's type)."""
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Scrambled fonts, which are no lock."""
DOCUMENT = "word/document.xml"
NOTES = "a[href^='#footnote'], a[href^='#endnote']"
"""Marks of notes and the arrows back: no words of the text."""


@contextmanager
def archive(path: Path, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a document of this kind. Raises BadInput where it is none, or not whole."""
    try:
        with zipfile.ZipFile(path) as opened:
            if bad := opened.testzip():
                raise zipfile.BadZipFile(f"{bad} with other bytes than its checksum says")
            yield opened
    except (zipfile.BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"{path}: expected {kind}, found {_why(path, error)}") from error


def _why(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins = file.read(4)
    if begins == OLD_OFFICE:
        return "an old Office document, or one with a password: open it and save it as .docx without one"
    if "encrypted" in str(error):
        return "that it is locked: save it without a password"
    if not begins:
        return "an empty file: get it again"
    return f"{'a damaged archive' if begins == b'PK' + bytes((3, 4)) else 'no zip archive'} ({error}): get it again"


def epub_records(path: Path) -> Iterator[Record]:
    """A record for every file of the spine."""
    with archive(path, "an EPUB") as book:
        names = set(book.namelist())
        _refuse_locked(path, book, names)
        package = _package(path, book, names)
        guides = {_file(package.name, guide.get("href")): guide.get("type") for guide in package.find_all("reference")}
        for number, item in enumerate(_spine(path, package), start=1):
            file = _file(package.name, item.get("href"))
            if file not in names:
                raise BadInput(f"{path}: expected {file}, part {number} of its spine, found none: get the book again")
            page = parsed(decode(f"{path}, {file}", book.read(file)), path)
            yield Record(str(number), text_of(page), dropped=_reason(item, guides.get(file), page))


def _refuse_locked(path: Path, book: zipfile.ZipFile, names: set[str]) -> None:
    if LOCKS not in names:
        return
    methods = {method.get("Algorithm") for method in _xml(path, book, LOCKS).find_all("EncryptionMethod")}
    if methods - set(FONTS):
        raise BadInput(f"{path}: expected an EPUB that can be read, found that it is locked (DRM): get one without")


def _package(path: Path, book: zipfile.ZipFile, names: set[str]) -> Any:
    """The package file: what the book is made of. `.name` is its own name in the archive."""
    root = _xml(path, book, CONTAINER).find("rootfile") if CONTAINER in names else None
    name = root.get("full-path") if root else ""
    if name not in names:
        raise BadInput(f"{path}: expected an EPUB, found no package file ({CONTAINER} names none): get it again")
    package = _xml(path, book, name)
    package.name = name
    return package


def _spine(path: Path, package: Any) -> list[Any]:
    """The items of the manifest in reading order."""
    items = {item.get("id"): item for item in package.find_all("item")}
    order = [reference.get("idref") for reference in package.find_all("itemref")]
    lost = [name for name in order if name not in items]
    if not order or lost:
        said = f"{', '.join(map(str, lost))} in it, which is no part of the book" if lost else "none"
        raise BadInput(
            f"{path}: expected a spine (the reading order) in {package.name}, found {said}: "
            "repair the book (Calibre: Edit book, Check book), or give its chapters as .html"
        )
    return [items[name] for name in order]


def _reason(item: Any, guide: str | None, page: Any) -> str | None:
    """Why a part is no chapter: what the manifest, the guide or its own body says that it is."""
    if "nav" in (item.get("properties") or "").split():
        return CONTENTS
    body = page.find("body")
    sections = [body, *body.find_all(("section", "div", "nav"), recursive=False)] if body else []
    said = [guide or "", *(section.get("epub:type") or "" for section in sections[:2])]
    return next((TYPES[word] for words in said for word in words.split() if word in TYPES), None)


def _xml(path: Path, book: zipfile.ZipFile, name: str) -> Any:
    return parsed(decode(f"{path}, {name}", book.read(name)), path, "xml")


def _file(package: str, link: str | None) -> str:
    """The name in the archive of what a package file refers to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote((link or "").partition("#")[0])))


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
