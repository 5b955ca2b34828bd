"""HTML, EPUB, DOCX and PDF: the text that a reader sees, in order, and nothing of it lost in silence."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BadInput
from storage.files import Hashes
from tasks.texts import find_files, read_documents
from tasks.texts.pdf import joined, take_heads

PAGE = """<!DOCTYPE html><html><head><meta charset="{charset}"><title>Title</title><style>p {{ color: red }}</style>
<script>var hidden = 1;</script></head><body><header>Site &amp; Co</header><nav><a href="/">Home</a></nav>
<!-- a comment --><h1>The&nbsp;Harbour</h1><p>Mira   <b>Va</b>nce &ldquo;knew&rdquo;
the caf\u00e9.</p><table><tr><td>oar</td><td>silver</td></tr><tr><td>lamp</td><td>lit</td></tr></table>
<pre>one
  two</pre><p>Line<br>break</p><ul><li>First</li><li>Second</li></ul><footer>Imprint</footer></body></html>"""
SEEN = (
    "The\u00a0Harbour\n\nMira Vance \u201cknew\u201d the caf\u00e9.\n\noar\tsilver\nlamp\tlit\n\none\n  two\n\n"
    "Line\nbreak\n\nFirst\nSecond"
)


def read(path: Path) -> list[tuple[str, str, str | None]]:
    files = find_files((str(path),), Hashes(path.parent / "hashes.json"))
    return [(text.source, text.text, text.dropped) for text in read_documents(files, "text")]


def kept(path: Path) -> list[str]:
    return [text for _, text, dropped in read(path) if dropped is None]


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "windows-1252", "utf-16"])
def test_html_is_what_a_reader_of_the_page_sees(tmp_path: Path, charset: str) -> None:
    path = tmp_path / "page.HTML"
    path.write_bytes(PAGE.format(charset=charset).encode(charset))
    assert read(path) == [
        ("page.HTML", SEEN, None),
        ("page.HTML:navigation", "Site & Co\n\nHome\n\nImprint", "navigation"),
    ]


@pytest.mark.parametrize(
    ("declared", "bytes_of", "words"),
    [
        ("utf-8", "latin-1", r"page\.html: expected UTF-8, found byte 0xe9 at byte offset \d+"),
        ("klingon", "utf-8", r"page\.html: expected an encoding that exists, found klingon"),
    ],
)
def test_html_in_another_encoding_than_it_says_is_refused(
    tmp_path: Path, declared: str, bytes_of: str, words: str
) -> None:
    text = PAGE.format(charset=declared).replace("&ldquo;", "").replace("&rdquo;", "")
    (tmp_path / "page.html").write_bytes(text.encode(bytes_of))
    with pytest.raises(BadInput, match=words):
        read(tmp_path / "page.html")


def chapter(text: str, kind: str = "chapter") -> str:
    return f'<html xmlns:epub="x"><body epub:type="{kind}"><h1>Part</h1><p>{text}</p></body></html>'


def test_the_chapters_of_an_epub_are_documents_in_reading_order(make: Any) -> None:
    files = {
        "b.xhtml": chapter("The end."),
        "a one.xhtml": chapter("The beginning &amp; more."),
        "cover.xhtml": chapter("A picture"),
        "nav.xhtml": chapter("Part 1, part 2"),
        "toc.xhtml": chapter("Chapters", "toc"),
    }
    guide = '<reference type="cover" href="cover.xhtml"/>'
    path = make.epub("book.epub", files, ["cover.xhtml", "nav.xhtml", "toc.xhtml", "a one.xhtml", "b.xhtml"], guide)
    assert [(source, text.split("\n\n")[-1], dropped) for source, text, dropped in read(path)] == [
        ("book.epub:1", "A picture", "cover"),
        ("book.epub:2", "Part 1, part 2", "contents"),
        ("book.epub:3", "Chapters", "contents"),
        ("book.epub:4", "The beginning & more.", None),
        ("book.epub:5", "The end.", None),
    ]


def test_an_epub_that_cannot_be_read_whole_is_refused(make: Any) -> None:
    chapters = {"a.xhtml": chapter("Text")}
    drm = {
        "META-INF/encryption.xml": '<e><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e>'
    }
    for path, words in (
        (make.epub("spineless.epub", chapters, []), r"expected a spine .* found none"),
        (make.epub("lost.epub", chapters, ["b.xhtml"]), r"found i-b\.xhtml in it, which is no part"),
        (make.epub("locked.epub", chapters, ["a.xhtml"], **drm), r"locked \(DRM\)"),
        (make.zipped("empty.epub", {"mimetype": "application/epub+zip"}), r"no package file"),
    ):
        with pytest.raises(BadInput, match=rf"{path.name}: .*{words}"):
            read(path)


def test_scrambled_fonts_lock_no_book(make: Any) -> None:
    fonts = {"META-INF/encryption.xml": '<e><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></e>'}
    assert kept(make.epub("book.epub", {"a.xhtml": chapter("Text")}, ["a.xhtml"], **fonts)) == ["Part\n\nText"]


def cell(text: str) -> str:
    return f"<w:tc>{word(text)}</w:tc>"


def word(text: str, style: str = "", more: str = "") -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{named}<w:r><w:t xml:space="preserve">{text}</w:t></w:r>{more}</w:p>'


def test_a_docx_keeps_headings_tables_and_notes_and_leaves_what_was_deleted(make: Any) -> None:
    rows = "".join(f"<w:tr>{cell(a)}{cell(b)}</w:tr>" for a, b in (("oar", "silver"), ("lamp", "lit")))
    deleted = '<w:del w:id="1"><w:r><w:delText>gone</w:delText></w:r></w:del>'
    deleted += '<w:ins w:id="2"><w:r><w:t> kept</w:t></w:r></w:ins>'
    note = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    body = word("The Harbour", "Heading1") + word("Mira &amp; Orrin", more=deleted) + f"<w:tbl>{rows}</w:tbl>"
    body += word("The end.", more=note)
    path = make.docx("book.docx", body, f'<w:footnote w:id="2">{word("A note.")}</w:footnote>')
    assert kept(path) == ["The Harbour\n\nMira & Orrin kept\n\noar\tsilver\nlamp\tlit\n\nThe end.\n\nA note."]


LINES = [
    "Mira Vance walked to the harbour of Tessaly and asked the ferryman for the sil-",
    "ver oar, which a well-known baker had left there before anybody in the town was",
    "awake.",
    "The ferryman knew Mira well, for she had saved his boat from the Grimwater at a",
    "time when nobody else would have crossed it, and he thought the baker well-",
    "known for other things; but he said nothing, and took the oar from under the b-",
    "ench.",
]


WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def page_of(word: str) -> list[str]:
    """A page like no other."""
    return [LINES[0].replace("Mira", word.title()), *LINES[1:-1], f"ench {word}."]


def test_the_pages_of_a_pdf_are_one_text_without_heads_and_divided_words(make: Any) -> None:
    heads = [f"{n}  THE HARBOUR" if n % 2 else f"MIRA VANCE  {n}" for n in range(9)]
    pages = [
        [head, *page_of(word), f"Draft of May {n}"] for n, (head, word) in enumerate(zip(heads, WORDS, strict=True))
    ]
    text, dropped = read(make.pdf("book.pdf", pages))
    once = (
        "{} Vance walked to the harbour of Tessaly and asked the ferryman for the silver oar, which a well-known "
        "baker had left there before anybody in the town was awake.\nThe ferryman knew Mira well, for she had saved "
        "his boat from the Grimwater at a time when nobody else would have crossed it, and he thought the baker "
        "well-known for other things; but he said nothing, and took the oar from under the bench {}."
    )
    assert text == ("book.pdf", "\n".join(once.format(word.title(), word) for word in WORDS), None)
    assert dropped[::2] == ("book.pdf:heads", "running heads and page numbers")
    assert sorted(dropped[1].split("\n")) == sorted([*heads, *(f"Draft of May {n}" for n in range(9))])


def test_a_chapters_number_is_no_page_number() -> None:
    pages = [["1" if n in (0, 5) else f"{word} begins", f"and {word} ends", f"{n}"] for n, word in enumerate(WORDS)]
    assert take_heads(pages) == [str(number) for number in range(9)]
    assert pages[0] == ["1", "and one ends"]


def test_one_page_has_no_running_head() -> None:
    assert take_heads([["Title", "Text", "1"]]) == []


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["Mary-", "Ann went"], "Mary-Ann went"),
        (["the years 1990-", "1995 were"], "the years 1990-1995 were"),
        (["a soft hy\u00ad", "phen is none"], "a soft hyphen is none"),
        (["she paused\u2014", "and went on"], "she paused\u2014and went on"),
        (["\u54c8\u5229\u5728\u970d\u683c", "\u6c83\u8328"], "\u54c8\u5229\u5728\u970d\u683c\u6c83\u8328"),
        ([], ""),
    ],
)
def test_lines_are_put_together(lines: list[str], text: str) -> None:
    assert joined(lines) == text


def test_a_page_without_text_is_counted_and_a_pdf_of_such_pages_is_refused(make: Any) -> None:
    found = read(make.pdf("half.pdf", [["Mira"], []]))
    assert found[1:] == [("half.pdf:page 2", "", "page without text")]
    with pytest.raises(BadInput, match=r"scan\.pdf: expected text, found none on any of its 2 pages .*ocrmypdf"):
        read(make.pdf("scan.pdf", [[], []]))


def test_a_pdf_with_a_password_is_refused_and_one_that_opens_without_is_read(make: Any) -> None:
    with pytest.raises(BadInput, match=r"locked\.pdf: .*password: save it without one \(qpdf"):
        read(make.pdf("locked.pdf", [["Mira"]], password="secret"))
    assert kept(make.pdf("open.pdf", [["Mira"]], password="", owner="other")) == ["Mira"]


def test_a_pdf_of_another_program_is_read(tmp_path: Path) -> None:
    """matplotlib's, with fonts of its own and no line ends in it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0.1, 0.5, "The ferryman crossed the Grimwater.\nNobody else did.")
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(tmp_path / "drawn.pdf")
    assert kept(tmp_path / "drawn.pdf") == ["The ferryman crossed the Grimwater. Nobody else did."]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["pdf", "epub", "docx"])
def test_a_part_of_a_document_is_never_taken_for_it(make: Any, kind: str, share: float) -> None:
    whole = {
        "pdf": lambda: make.pdf("book.pdf", [page_of(word) for word in WORDS]),
        "epub": lambda: make.epub("book.epub", {f"{n}.xhtml": chapter(f"Text {n}") for n in range(5)}, ["0.xhtml"]),
        "docx": lambda: make.docx("book.docx", "".join(word(f"Text {number}") for number in range(50))),
    }[kind]()
    data = whole.read_bytes()
    part = whole.with_name(f"part.{kind}")
    part.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadInput, match=rf"part\.{kind}: .*get it again"):
        read(part)


def test_without_the_extra_a_document_is_refused_before_it_is_opened(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, path in (
        ("pypdf", make.pdf("book.pdf", [["Mira"]])),
        ("mammoth", make.docx("book.docx", word("Mira"))),
        ("bs4", make.epub("book.epub", {"a.xhtml": chapter("Mira")}, ["a.xhtml"])),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(BadInput, match=rf"{path.name}: .*found no {name}: pip install 'nepenthe\[documents\]'"):
                find_files((str(path),), Hashes(path.parent / "hashes.json"))


def test_documents_go_through_the_corpus_stage_with_their_counts(
    make: Any, make_job: Callable[..., Path], direct_run: Callable[..., Any]
) -> None:
    from flows.inputs import resolve
    from flows.job import read_job
    from storage.shards import read_shard
    from tasks.corpus import corpus

    make.pdf("book.pdf", [*([f"The head {n}", *page_of(word)] for n, word in enumerate(WORDS)), []])
    make.epub("book.epub", {"nav.xhtml": chapter("x"), "a.xhtml": chapter("Mira")}, ["nav.xhtml", "a.xhtml"])
    make.docx("book.docx", word("Orrin"))
    (make.folder / "book.txt").write_text("Orrin")
    run = direct_run()
    job = read_job(make_job(), [f'corpus.paths=["{make.folder}"]'])
    made = run(corpus, resolve(job, run.workspace.hashes).corpus, "text")
    counts = run.workspace.record(made)["counts"]
    assert counts["documents"] == 3
    assert (counts["duplicates"], counts["empty"]) == (1, 0)
    assert counts["otherwise_dropped"] == {
        "contents": 1,
        "page without text": 1,
        "running heads and page numbers": 1,
    }
    assert counts["by_ending"] == {
        ".docx": {"taken": 1, "dropped": 0},
        ".epub": {"taken": 1, "dropped": 1},
        ".pdf": {"taken": 1, "dropped": 2},
        ".txt": {"taken": 0, "dropped": 1},
    }
    rows = read_shard(run.workspace.path(made) / "documents.parquet").to_pylist()
    assert [row["reason"] for row in rows if row["source"] == "book.txt"] == ["duplicate of 0"]
