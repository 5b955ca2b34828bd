"""EPUB: a chapter (a file of the spine) is a document, in reading order. Cover and contents are dropped."""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from storage.errors import BadInput
from tasks.texts.archives import archive
from tasks.texts.html import decode, parsed, text_of
from tasks.texts.records import Record

CONTAINER, LOCKS = "META-INF/container.xml", "META-INF/encryption.xml"
COVER, CONTENTS = "cover", "contents"
"""Why a part of a book is dropped."""
TYPES = {"cover": COVER, "titlepage-cover": COVER, "toc": CONTENTS, "landmarks": CONTENTS, "page-list": CONTENTS}
"""What a part says that it is (epub:type, or a guide's type)."""
FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Scrambled fonts, which are no lock."""


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


def _refuse_locked(path: Path, book: ZipFile, names: set[str]) -> None:
    if LOCKS not in names:
        return
    methods = {method.get("Algorithm") for method in _xml(path, book, LOCKS).find_all("EncryptionMethod")}
    if methods - set(FONTS):
        raise BadInput(f"{path}: expected an EPUB that can be read, found that it is locked (DRM): get one without")


def _package(path: Path, book: ZipFile, names: set[str]) -> Any:
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


def _xml(path: Path, book: ZipFile, name: str) -> Any:
    return parsed(decode(f"{path}, {name}", book.read(name)), path, "xml")


def _file(package: str, link: str | None) -> str:
    """The name in the archive of what a package file refers to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote((link or "").partition("#")[0])))
