"""Documents as users have them, made here: PDF, EPUB, DOCX."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

OPF = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id"><metadata/>
<manifest>{items}</manifest><spine>{spine}</spine><guide>{guide}</guide></package>"""
CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org"


class Make:
    """Writes documents; every method returns the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pdf(self, name: str, pages: Sequence[Sequence[str]], password: str | None = None, owner: str = "") -> Path:
        """A page a list of lines."""
        from pypdf import PdfWriter

        writer = PdfWriter()
        for lines in pages:
            _add_page(writer, lines)
        if password is not None:
            writer.encrypt(password, owner or None, algorithm="AES-256")
        writer.write(self.folder / name)
        return self.folder / name

    def zipped(self, name: str, files: dict[str, str | bytes]) -> Path:
        """An archive of these files."""
        with zipfile.ZipFile(self.folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, content in files.items():
                archive.writestr(inside, content)
        return self.folder / name

    def epub(self, name: str, files: dict[str, str], order: Sequence[str], guide: str = "", **more: str) -> Path:
        """`files` lie in OEBPS; `order` is the spine; a file nav.xhtml is the navigation."""
        items = "".join(
            f'<item id="i-{file}" href="{file}" media-type="application/xhtml+xml"'
            + (' properties="nav"/>' if file == "nav.xhtml" else "/>")
            for file in files
        )
        spine = "".join(f'<itemref idref="i-{file}"/>' for file in order)
        book = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER}
        book |= {"OEBPS/book.opf": OPF.format(items=items, spine=spine, guide=guide)}
        return self.zipped(name, book | {f"OEBPS/{file}": text for file, text in files.items()} | more)

    def docx(self, name: str, body: str, notes: str = "") -> Path:
        """`body` is WordprocessingML, `notes` the footnotes'."""
        parts = {"word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'}
        relation = f'<Relationship Id="r1" Type="{OFFICE}/officeDocument/2006/relationships/'
        package = f'{relation}officeDocument" Target="word/document.xml"/>'
        own = f'{relation}footnotes" Target="footnotes.xml"/>' if notes else ""
        if notes:
            parts["word/footnotes.xml"] = f'<w:footnotes xmlns:w="{WORD}">{notes}</w:footnotes>'
        for place, relations in (("_rels/.rels", package), ("word/_rels/document.xml.rels", own)):
            parts[place] = f'<Relationships xmlns="{OFFICE}/package/2006/relationships">{relations}</Relationships>'
        kind = "application/vnd.openxmlformats-officedocument.wordprocessingml"
        overrides = "".join(
            f'<Override PartName="/{part}" ContentType="{kind}.{part[5:-4].replace("document", "document.main")}+xml"/>'
            for part in parts
            if part.endswith(".xml")
        )
        default = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        types = f'<Types xmlns="{OFFICE}/package/2006/content-types">{default}{overrides}</Types>'
        return self.zipped(name, parts | {"[Content_Types].xml": types})


def _add_page(writer: Any, lines: Sequence[str]) -> None:
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    page = writer.add_blank_page(595, 842)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    named = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
    fonts = DictionaryObject({NameObject("/F1"): writer._add_object(named)})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    stream, drawn = DecodedStreamObject(), io.BytesIO(b"")
    drawn.write(b"BT /F1 11 Tf 14 TL 72 780 Td\n")
    for line in lines:
        escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        drawn.write(b"(" + escaped.encode("cp1252") + b") Tj T*\n")
    stream.set_data(drawn.getvalue() + b"ET")
    if lines:
        page[NameObject("/Contents")] = writer._add_object(stream)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Documents in a folder of their own."""
    folder = tmp_path / "documents"
    folder.mkdir()
    return Make(folder)
