"""DOCX and PPTX: their text, their pages, their pictures; and that no archive and no XML does harm."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from passthrough.sandbox.documents import read
from passthrough.sandbox.errors import Rejection
from passthrough.sandbox.job_thread import JobCancelled
from passthrough.sandbox.office.office_document import office_kind
from passthrough.sandbox.office.xml_events import XmlReader
from passthrough.sandbox.pages import Page, ReadOptions
from tests.harness.documents import png
from tests.harness.office import NAMESPACES, archive, docx, paragraph, pptx, relations, shape

CORRUPTED = "File is corrupted and cannot be parsed."
BREAK = '<w:r><w:br w:type="page"/></w:r>'
RENDERED = "<w:r><w:lastRenderedPageBreak/></w:r>"


def pages_of(document: bytes, **options: object) -> list[Page]:
    """Read all pages, with their pictures."""
    return read(document, ReadOptions(range, with_content=True, **options), lambda: False)  # type: ignore[arg-type]


def texts(document: bytes) -> list[str]:
    """Return the text of each page."""
    return [page.markdown for page in pages_of(document)]


def style(name: str) -> str:
    """Return the properties of a paragraph of a style."""
    return f'<w:pStyle w:val="{name}"/>'


def section(kind: str = "", size: str = "") -> str:
    """Return the properties of a section, which stand at its end and say how it began."""
    return f"<w:sectPr>{f'<w:type w:val={kind!r}/>' if kind else ''}{size}</w:sectPr>"


def row(*cells: str) -> str:
    """Return a row of a table of a DOCX."""
    return "<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in cells) + "</w:tr>"


TEXTS = {
    "paragraphs": (paragraph("Größe: 5 µm &amp; mehr") + paragraph("") + paragraph("zwei"), ["Größe: 5 µm & mehr\n\nzwei"]),
    "headings": (
        paragraph("T", style("Title")) + paragraph("H", style("Heading2")) + paragraph("D", style("berschrift3")),
        ["# T\n\n## H\n\n### D"],
    ),
    "lists": (
        paragraph("a", style("ListBullet"))
        + paragraph("b", style("ListParagraph") + "<w:numPr/>")
        + paragraph("c", style("ListParagraph")),
        ["- a\n\n- b\n\nc"],
    ),
    "characters": (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t>"
        "<w:noBreakHyphen/><w:t>d</w:t></w:r></w:p>",
        ["a\tb\nc-d"],
    ),
    "not shown": (
        "<w:p><w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:r><w:instrText>PAGE</w:instrText><w:t>here</w:t></w:r></w:p>",
        ["here"],
    ),
    "said twice": (
        "<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent>"
        f"{paragraph('in a box')}</w:txbxContent></mc:Choice><mc:Fallback>{paragraph('in a box')}</mc:Fallback>"
        "</mc:AlternateContent><w:t>outside</w:t></w:r></w:p>",
        ["in a box\n\noutside"],
    ),
    "table": (
        f"<w:tbl>{row('a|b', 'c')}{row('d')}</w:tbl>{paragraph('below')}",
        ["| a\\|b | c |\n| --- | --- |\n| d |  |\n\nbelow"],
    ),
    "table in a table": (
        f"<w:tbl><w:tr><w:tc><w:tbl>{row('x', 'y')}</w:tbl>{paragraph('z')}</w:tc></w:tr></w:tbl>",
        ["| x y z |\n| --- |"],
    ),
    "author's break": (paragraph("one", more=BREAK) + paragraph("two"), ["one", "two"]),
    "within a paragraph": (f"<w:p><w:r><w:t>one</w:t></w:r>{BREAK}<w:r><w:t>two</w:t></w:r></w:p>", ["one", "two"]),
    "both breaks are one": (
        paragraph("one", more=BREAK) + f"<w:p>{RENDERED}<w:r><w:t>two</w:t></w:r></w:p>",
        ["one", "two"],
    ),
    "as Word laid it out": (f"<w:p><w:r><w:t>one</w:t></w:r>{RENDERED}<w:r><w:t>two</w:t></w:r></w:p>", ["one", "two"]),
    "break before": (paragraph("one") + paragraph("two", "<w:pageBreakBefore/>"), ["one", "two"]),
    "no break before": (paragraph("one") + paragraph("two", '<w:pageBreakBefore w:val="0"/>'), ["one\n\ntwo"]),
    "sections": (paragraph("one", section()) + paragraph("two") + section(), ["one", "two"]),
    "continuous section": (
        paragraph("one", section()) + paragraph("two", section("nextPage")) + paragraph("still two") + section("continuous"),
        ["one", "two\n\nstill two"],
    ),
    "within a table": (
        f"<w:tbl>{row('a')}<w:tr><w:tc><w:p>{RENDERED}<w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>",
        ["| a |\n| --- |", "| b |\n| --- |"],
    ),
    "nothing": ("", [""]),
}


@pytest.mark.parametrize(("body", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_docx_is_read(body: str, expected: list[str]) -> None:
    """Text, structure and pages are those that the document says; what it says of its look is not read."""
    assert expected == texts(docx(body))


def test_strict_documents_are_read_too() -> None:
    """The namespaces of ISO's strict form are as good as those of Office."""
    strict = NAMESPACES.replace(
        "http://schemas.openxmlformats.org/wordprocessingml/2006/main", "http://purl.oclc.org/ooxml/wordprocessingml/main"
    )
    assert ["strict"] == texts(docx(paragraph("strict"), namespaces=strict))


def test_a_pages_size_is_that_of_its_paper() -> None:
    """Twentieths of a point become pixels at 200 dpi; a size that is none leaves the default, Letter."""
    for size, expected in (('<w:pgSz w:w="11906" w:h="16838"/>', (1654, 2339)), ('<w:pgSz w:w="x"/>', (1700, 2200))):
        (page,) = pages_of(docx(paragraph("a") + section(size=size)))
        assert expected == (page.width, page.height)


def picture_in_word(name: str, inches: tuple[int, int] = (2, 1)) -> str:
    """Return a paragraph that shows a picture."""
    across, down = (914400 * each for each in inches)
    return f'<w:p><w:r><wp:extent cx="{across}" cy="{down}"/><a:blip r:embed="{name}"/></w:r></w:p>'


def test_pictures_come_out_of_the_archive() -> None:
    """Each is named, measured and sent with its bytes and type; forms that no browser shows, and small ones, are not."""
    shown = docx(
        paragraph("text")
        + picture_in_word("one")
        + picture_in_word("drawing")
        + picture_in_word("missing")
        + BREAK
        + picture_in_word("one"),
        pictures={"one.png": png(), "drawing.emf": b"x"},
    )
    first, second = pages_of(shown)
    assert "text\n\n![img-0.jpeg](img-0.jpeg)" == first.markdown
    assert [("img-0.jpeg", (0, 0, 400, 200), png(), "image/png")] == [
        (one.id, one.box, one.content, one.mime) for one in first.pictures
    ]
    assert ["img-1.jpeg"] == [one.id for one in second.pictures]
    assert [1, 0] == [len(page.pictures) for page in pages_of(shown, picture_limit=1)]
    assert [0, 0] == [len(page.pictures) for page in pages_of(shown, picture_min_px=201)]


def test_slides_are_pages_in_the_order_in_which_they_are_shown() -> None:
    """Titles, paragraphs, line breaks, tables and pictures of each slide; the size is that of the slides."""
    table = "<a:tbl><a:tr><a:tc><a:p><a:r><a:t>A</a:t></a:r></a:p></a:tc><a:tc/></a:tr></a:tbl>"
    photo = '<p:pic><a:blip r:embed="one"/><a:off x="914400" y="0"/><a:ext cx="914400" cy="914400"/><a:ext uri="x"/></p:pic>'
    broken = "<p:sp><a:p><a:r><a:t>a</a:t></a:r><a:br/><a:r><a:t>b</a:t></a:r></a:p></p:sp>"
    found = pages_of(
        pptx(shape("Title", title=True) + shape("one", "two"), broken + table + photo, pictures={"one.png": png()}),
    )
    assert ["# Title\n\none\n\ntwo", "a\nb\n\n| A |  |\n| --- | --- |\n\n![img-0.jpeg](img-0.jpeg)"] == [
        page.markdown for page in found
    ]
    assert {(2000, 1500)} == {(page.width, page.height) for page in found}
    assert [(200, 0, 400, 200)] == [one.box for one in found[1].pictures]


def test_a_slide_says_things_once() -> None:
    """What stands there for older programs is skipped, and so are pictures that are not in the archive, and text out of place."""
    twice = f"<mc:Choice>{shape('new')}</mc:Choice><mc:Fallback>{shape('old')}</mc:Fallback>"
    missing = '<p:pic><a:blip r:embed="nowhere"/><a:ext cx="914400" cy="914400"/></p:pic>'
    (page,) = pages_of(pptx(f"{twice}{missing}<a:t>nowhere</a:t>", size="<p:sldSz cx='x'/>"))
    assert ("new", (), (2667, 1500)) == (page.markdown, page.pictures, (page.width, page.height))


def test_the_first_element_may_come_late() -> None:
    """A comment before it may be longer than a piece."""
    late = f"<!--{'x' * 200_000}--><w:document {NAMESPACES}><w:p><w:r><w:t>late</w:t></w:r></w:p></w:document>"
    assert ["late"] == texts(changed(WHOLE, PART, late))


def test_only_the_chosen_slides_are_read() -> None:
    """A slide that is broken does no harm as long as it is not asked for."""
    document = pptx(shape("one"), "<broken", shape("three"))
    assert ["three"] == [page.markdown for page in read(document, ReadOptions(lambda total: [total - 1]), lambda: False)]
    with pytest.raises(Rejection):
        pages_of(document)


def test_too_many_pages_are_refused() -> None:
    """The bound is that of PDFs, and the message says both numbers."""
    with pytest.raises(Rejection) as refused:
        pages_of(pptx(*[shape("x")] * 31), max_pages=30)
    assert "This document has 31 pages, which is more than the maximum allowed of 30." == refused.value.body["message"]


def test_the_kinds_are_told_apart() -> None:
    """By the document's first element, not by names."""
    assert ["docx", "pptx"] == [office_kind(each) for each in (docx(""), pptx(shape("x")))]


def changed(document: bytes, name: str, content: bytes | str) -> bytes:
    """Return an archive in which one part is another."""
    with zipfile.ZipFile(io.BytesIO(document)) as opened:
        parts = {entry.filename: opened.read(entry) for entry in opened.infolist()}
    return archive({**parts, name: content})


def stored(document: bytes) -> bytes:
    """Return an archive that is not compressed: a damaged byte of it is one of the XML."""
    with zipfile.ZipFile(io.BytesIO(document)) as opened:
        return archive({entry.filename: opened.read(entry) for entry in opened.infolist()}, zipfile.ZIP_STORED)


def with_attributes(number: int) -> str:
    """Return an element with that many attributes."""
    return "<a " + " ".join(f"a{at}='{at}'" for at in range(number)) + "/>"


def marked_as_encrypted(document: bytes) -> bytes:
    """Return an archive whose entries say that they are encrypted."""
    return document.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")


ENTITIES = '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
PART = "word/document.xml"
WHOLE = docx(paragraph("text"))
HOSTILE: dict[str, Callable[[], bytes]] = {
    "billion laughs": lambda: changed(WHOLE, PART, f"{ENTITIES}<w:document {NAMESPACES}><w:p><w:t>&b;</w:t></w:p></w:document>"),
    "a file of this machine": lambda: changed(
        WHOLE, PART, f'<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]><w:document {NAMESPACES}>&a;</w:document>'
    ),
    "a document type alone": lambda: changed(WHOLE, PART, f"<!DOCTYPE w><w:document {NAMESPACES}/>"),
    "in the relations": lambda: changed(WHOLE, "_rels/.rels", f"{ENTITIES}{relations(a='officeDocument word/document.xml')}"),
    "a bomb": lambda: changed(WHOLE, PART, f"<w:document {NAMESPACES}>" + " " * 70_000_000 + "</w:document>"),
    "a bomb that shrinks like text": lambda: docx((Random(1).randbytes(500).hex() + " " * 39_000) * 1_800),
    "a bomb of elements": lambda: changed(WHOLE, "word/_rels/document.xml.rels", b"<a>" + b" " * 70_000_000 + b"</a>"),
    "too deep": lambda: docx("<a>" * 300 + "</a>" * 300),
    "too many attributes": lambda: docx(with_attributes(300)),
    "too long a tag": lambda: docx(with_attributes(300_000)),
    "not XML": lambda: changed(WHOLE, PART, b"\x00\x01"),
    "cut off": lambda: changed(WHOLE, PART, f"<w:document {NAMESPACES}><w:body>"),
    "empty": lambda: changed(WHOLE, PART, b""),
    "an unknown encoding": lambda: changed(WHOLE, PART, b'<?xml version="1.0" encoding="x-none"?><a/>'),
    "no document": lambda: archive({"_rels/.rels": relations(a="officeDocument nowhere.xml")}),
    "a path out of the archive": lambda: archive({"_rels/.rels": relations(a="officeDocument ../../../etc/passwd")}),
    "a part that is named and not there": lambda: docx(paragraph("x")).replace(b"word/document.xml", b"word/another.xml0"),
    "unpacks without bounds": lambda: archive(
        {"_rels/.rels": relations(a="officeDocument a.xml"), "a.xml": "<a/>"}, method=zipfile.ZIP_LZMA
    ),
    "encrypted": lambda: marked_as_encrypted(WHOLE),
    "many parts": lambda: archive({f"{number}": "" for number in range(20_001)}, method=zipfile.ZIP_STORED),
    "no slides": pptx,
    "half an archive": lambda: WHOLE[: len(WHOLE) // 2],
}


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused(made: Callable[[], bytes]) -> None:
    """Each is the same 400: no entity is expanded, no file is opened, nothing beyond the bounds is unpacked."""
    with pytest.raises(Rejection) as refused:
        pages_of(made())
    assert (400, CORRUPTED, "3310") == tuple(refused.value.body[key] for key in ("raw_status_code", "message", "code"))


def test_the_elements_of_all_parts_together_are_bounded() -> None:
    """What one part leaves of the bound is what the next may have."""
    reader = XmlReader(max_elements=10)
    names: list[str] = []
    reader.read([b"<a>" + b"<b/>" * 5 + b"</a>"], lambda name, _: names.append(name))
    with pytest.raises(Rejection):
        reader.read([b"<a>" + b"<b/>" * 5 + b"</a>"], lambda name, _: names.append(name))
    assert 10 == len(names)


OTHERS = {
    "spreadsheet": {"_rels/.rels": relations(a="officeDocument xl/workbook.xml"), "xl/workbook.xml": "<workbook/>"},
    "book": {"mimetype": "application/epub+zip", "META-INF/container.xml": "<container/>"},
    "settings only": {"_rels/.rels": relations(a="settings word/settings.xml")},
}


@pytest.mark.parametrize("parts", OTHERS.values(), ids=OTHERS)
def test_other_archives_are_refused_as_what_they_are(parts: dict[str, str]) -> None:
    """A spreadsheet and a book are archives as well: the error says what is read."""
    with pytest.raises(Rejection) as refused:
        pages_of(archive(parts))
    said = "Document is a ZIP archive, but neither DOCX nor PPTX: the sandbox reads no other."
    assert said == refused.value.body["message"]


def test_a_picture_that_would_unpack_to_too_much_is_named_only() -> None:
    """Pictures share a bound, and a directory that lies about their size does not widen it."""
    huge = docx(picture_in_word("big"), pictures={"big.png": bytes(50_000_001)})
    lying = huge.replace((50_000_001).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert huge != lying
    for document in (huge, lying):
        with suppress(Rejection):  # what the directory says is all that is unpacked, and that is broken
            (page,) = pages_of(document)
            assert [b""] == [one.content for one in page.pictures]


DAMAGED = {
    "docx": docx(paragraph("x"), pictures={"a.png": png(8, 8)}),
    "pptx": pptx(shape("x")),
    "docx as XML": stored(docx(f"<w:tbl>{row('a', 'b')}</w:tbl>{picture_in_word('one')}{paragraph('x', section())}{BREAK}")),
    "pptx as XML": stored(pptx(shape("x", title=True))),
}


@pytest.mark.parametrize("document", DAMAGED.values(), ids=DAMAGED)
def test_no_damage_does_harm(document: bytes) -> None:
    """An archive cut off anywhere, or with any byte turned, is read or refused, and nothing else happens."""
    for at in range(len(document)):
        for damaged in (document[:at], document[:at] + bytes([document[at] ^ 0x01]) + document[at + 1 :]):
            with suppress(Rejection):
                pages_of(damaged)


def test_reading_stops_when_the_client_has_left() -> None:
    """Between two pieces of a part the reader looks whether its caller still waits for the response."""
    asked: list[bool] = []

    def is_cancelled() -> bool:
        asked.append(len(asked) > 5)
        return asked[-1]

    with pytest.raises(JobCancelled):
        read(stored(docx(paragraph("x" * 1_000_000))), ReadOptions(range), is_cancelled)
