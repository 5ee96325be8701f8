"""The parts in which a document is sent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePath

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from passthrough.client.documents import Document
from passthrough.client.errors import DocumentError
from passthrough.client.inputs.file_type import file_type
from passthrough.client.page_ranges import PageRanges
from passthrough.client.pdf.parts import Limits, Part, plan_parts
from tests.harness.documents import jpeg, pdf, png
from tests.harness.documents_of_all_kinds import fax, letter, padded, scan
from tests.harness.rights import let_all_in, ordinary_user

pytestmark = pytest.mark.fast

ALL = Limits()


def written(folder: Path, content: bytes, name: str = "x") -> Document:
    """Write a file, and return its document."""
    path = folder / name
    path.write_bytes(content)
    return Document(name, PurePath(name), path, type=file_type(path))


def pages(text: str | None) -> PageRanges | None:
    """Return the pages of a text."""
    return None if text is None else PageRanges.parse(text)


def words(path: Path) -> list[str]:
    """Return the text of each page of a PDF."""
    found = []
    with pypdfium2.PdfDocument(path) as opened:
        for page in opened:
            text = page.get_textpage()
            found.append(text.get_text_range().strip())
            text.close()
            page.close()
    return found


def said(numbers: Sequence[int]) -> list[str]:
    """Return what stands on pages of these numbers."""
    return [f"This is page {number} of a document for tests." for number in numbers]


WITHIN: dict[str, tuple[bytes, str | None, str | None]] = {
    "all pages": (pdf(3), None, None),
    "some pages": (pdf(5), "0,2-3", "0,2-3"),
    "every page by name": (pdf(3), "0-2", "0-2"),
    "pages beyond the end are dropped": (pdf(3), "1-9,20", "1-2"),
    "a picture": (png(), None, None),
    "a picture's only page": (png(), "0-5", "0"),
    "pages of a fax": (fax(4), "2-9", "2-3"),
    "pages of a letter are the API's to know": (letter("a"), "0,7", "0,7"),
    "pages of a PDF that pdfium cannot open": (b"%PDF-1.7 broken", "3", "3"),
}


@pytest.mark.parametrize("case", WITHIN)
def test_a_document_within_the_limits_is_one_part(case: str, tmp_path: Path) -> None:
    """It is sent as it is, with the pages that it has."""
    content, wanted, sent = WITHIN[case]
    document = written(tmp_path, content)
    parts = plan_parts(document, pages(wanted), ALL, tmp_path / "parts")
    assert [Part(document.path, None, len(content), pages(sent))] == parts
    assert not (tmp_path / "parts").exists()


def test_a_url_is_one_part(tmp_path: Path) -> None:
    """Nothing is known of it."""
    document = Document("http://a/b.pdf", PurePath("b.pdf"), url="http://a/b.pdf")
    assert [Part(None, "http://a/b.pdf", 0, pages("0-3"))] == plan_parts(document, pages("0-3"), ALL, tmp_path)


@pytest.mark.parametrize(
    ("content", "wanted", "why"),
    [
        (pdf(3), "3", "It has 3 pages, counted from 0: 3 is beyond its end."),
        (pdf(1), "1-2,5", "It has 1 page, counted from 0: 1-2,5 is beyond its end."),
        (png(), "1", "It has 1 page, counted from 0: 1 is beyond its end."),
    ],
)
def test_pages_beyond_the_end_alone_fail(content: bytes, wanted: str, why: str, tmp_path: Path) -> None:
    """The API would bill nothing and return nothing."""
    with pytest.raises(DocumentError) as caught:
        plan_parts(written(tmp_path, content), pages(wanted), ALL, tmp_path)
    assert why == caught.value.why


CUT: dict[str, tuple[int, str | None, int, list[list[int]]]] = {
    "one page more than fit": (5, None, 4, [[0, 1], [2, 3, 4]]),
    "twice what fits": (8, None, 4, [[0, 1, 2, 3], [4, 5, 6, 7]]),
    "one page each": (3, None, 1, [[0], [1], [2]]),
    "a page of many": (9, "7", 4, [[7]]),
    "two pages of many": (9, "0,8", 4, [[0, 8]]),
    "as many as fit, of many": (9, "1-2,5-6", 4, [[1, 2, 5, 6]]),
    "more than fit, and beyond the end": (9, "0,3-99", 4, [[0, 3, 4], [5, 6, 7, 8]]),
}


@pytest.mark.parametrize("case", CUT)
def test_a_document_of_too_many_pages_is_cut(case: str, tmp_path: Path) -> None:
    """Of the wanted pages alone, in their order: providers refuse a document for all of its pages, whichever are asked for."""
    total, wanted, most, expected = CUT[case]
    document = written(tmp_path, pdf(total))
    parts = plan_parts(document, pages(wanted), Limits(max_pages=most), tmp_path / "a" / "parts")
    assert expected == [list(part.taken or ()) for part in parts]
    assert [said(taken) for taken in expected] == [words(part.path) for part in parts if part.path]
    assert [(f"part-{at}.pdf", part.path.stat().st_size, None, None) for at, part in enumerate(parts) if part.path] == [
        (part.path.name, part.size_bytes, part.pages, part.url) for part in parts if part.path
    ]


def test_the_same_parts_are_planned_again(tmp_path: Path) -> None:
    """The next run finds the responses of the parts of this one, by their numbers."""
    document = written(tmp_path, pdf(7))
    first = plan_parts(document, None, Limits(max_pages=3), tmp_path / "parts")
    (tmp_path / "parts" / "part-1.pdf").write_bytes(b"half a par")
    assert first == plan_parts(document, None, Limits(max_pages=3), tmp_path / "parts")
    assert said([2, 3]) == words(tmp_path / "parts" / "part-1.pdf")


def test_a_document_of_too_many_bytes_is_cut(tmp_path: Path) -> None:
    """Each part is within the bytes, also where one page is larger than the others."""
    content = scan(6)
    document = written(tmp_path, content)
    for share in (2, 3, 5):
        limits = Limits(max_bytes=len(content) // share)
        parts = plan_parts(document, None, limits, tmp_path / "parts")
        assert list(range(6)) == [page for part in parts for page in part.taken or ()]
        assert [] == [part for part in parts if part.size_bytes > limits.max_bytes]
        assert share <= len(parts)


def test_no_more_parts_are_cut_than_bytes_need(tmp_path: Path) -> None:
    """As many as the size of the wanted pages lets expect, of nearly the same length."""
    content = scan(6)
    document = written(tmp_path, content)
    for wanted, share, expected in ((None, 0.6, [3, 3]), (None, 0.4, [2, 2, 2]), ("1,3-4", 0.6, [3]), ("0-3", 0.4, [2, 2])):
        limits = Limits(max_bytes=int(len(content) * share))
        parts = plan_parts(document, pages(wanted), limits, tmp_path / "parts")
        assert expected == [len(part.taken or ()) for part in parts]


def test_a_part_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    """Mistral's limits are 50 MB and 1000 pages; a part of just these bytes is within them."""
    assert (50_000_000, 1000) == (ALL.max_bytes, ALL.max_pages)
    document = written(tmp_path, scan(2))
    (part,) = plan_parts(document, pages("1"), Limits(max_pages=1), tmp_path / "parts")
    limits = Limits(max_bytes=part.size_bytes)
    assert [part] == plan_parts(document, pages("1"), limits, tmp_path / "parts")


def test_a_large_page_among_small_ones_is_cut_apart(tmp_path: Path) -> None:
    """What was expected to fit does not: its halves do."""
    small, large = pypdfium2.PdfDocument(pdf(7)), pypdfium2.PdfDocument(scan(2, seed=5))
    small.import_pages(large, index=5)
    small.save(tmp_path / "x")
    small.close()
    large.close()
    document = written(tmp_path, (tmp_path / "x").read_bytes())
    limits = Limits(max_bytes=int((tmp_path / "x").stat().st_size * 0.6))
    parts = plan_parts(document, None, limits, tmp_path / "parts")
    assert list(range(9)) == [page for part in parts for page in part.taken or ()]
    assert [] == [part for part in parts if part.size_bytes > limits.max_bytes]
    assert [f"part-{at}.pdf" for at in range(len(parts))] == [part.path.name for part in parts if part.path]
    assert len(parts) == len(list((tmp_path / "parts").iterdir()))


def test_bytes_that_no_page_needs_are_left_behind(tmp_path: Path) -> None:
    """A document may be large for what was deleted from it."""
    document = written(tmp_path, padded(pdf(3), 3_000_000))
    parts = plan_parts(document, pages("1"), Limits(max_bytes=1_000_000), tmp_path / "parts")
    assert [(1,)] == [part.taken for part in parts]
    assert parts[0].size_bytes < 10_000


def test_a_page_that_is_too_large_fails(tmp_path: Path) -> None:
    """It is named, and nothing of it is left."""
    with pytest.raises(DocumentError) as caught:
        plan_parts(written(tmp_path, scan(2)), None, Limits(max_bytes=20_000), tmp_path / "parts")
    assert caught.value.why.startswith("Its page 0 alone is too large: 0.")
    assert caught.value.why.endswith(" MB, and the API takes 0.0 MB.")
    assert [] == list((tmp_path / "parts").iterdir())


@pytest.mark.parametrize("content", [png(), letter("a"), fax(3), b"%PDF-1.7 broken" + bytes(100)])
def test_what_cannot_be_cut_and_is_too_large_fails(content: bytes, tmp_path: Path) -> None:
    """Images, Office documents, and a PDF that pdfium cannot open."""
    document = written(tmp_path, content)
    assert 1 == len(plan_parts(document, None, Limits(max_bytes=len(content)), tmp_path))
    with pytest.raises(DocumentError, match=r"^It is too large: 0\.\d MB, and the API takes 0\.\d MB\."):
        plan_parts(document, None, Limits(max_bytes=len(content) - 1), tmp_path)


def test_a_long_tiff_is_not_cut(tmp_path: Path) -> None:
    """What the API makes of its pages is not known."""
    document = written(tmp_path, fax(5))
    assert [None] == [part.taken for part in plan_parts(document, None, Limits(max_pages=2), tmp_path)]


def test_a_document_that_is_locked_against_changes_is_cut(tmp_path: Path) -> None:
    """It is open to everybody's eyes, and to the API's."""
    document = written(tmp_path, pdf(4, password=""))
    parts = plan_parts(document, None, Limits(max_pages=2), tmp_path / "parts")
    assert [said([0, 1]), said([2, 3])] == [words(part.path) for part in parts if part.path]


def test_pictures_and_turned_pages_come_along(tmp_path: Path) -> None:
    """A part shows its pages as the document does."""
    source = pypdfium2.PdfDocument(pdf(3, picture=jpeg()))
    source[1].set_rotation(90)
    source.save(tmp_path / "x")
    document = written(tmp_path, (tmp_path / "x").read_bytes())
    (part,) = plan_parts(document, pages("1"), Limits(max_pages=2), tmp_path / "parts")
    assert part.path is not None
    cut = pypdfium2.PdfDocument(part.path)
    shown = [bytes(one.render(scale=0.5).buffer) for one in (source[1], cut[0])]
    assert 90 == cut[0].get_rotation()
    assert shown[0] == shown[1]
    cut.close()
    source.close()


def form() -> bytes:
    """Return a PDF of three pages: each has a field with a word in it, a page before the last a link as well."""
    out = io.BytesIO()
    canvas = Canvas(out, invariant=1)
    for page in range(3):
        canvas.drawString(72, 720, f"Name on page {page}:")
        if page < 2:
            canvas.acroForm.textfield(name=f"name {page}", value=f"Ada {page}", x=72, y=600, width=200, height=30)
        canvas.linkURL("https://a.example", (72, 72, 144, 144))
        canvas.showPage()
    canvas.save()
    return out.getvalue()


@pytest.mark.parametrize("has_appearance", [True, False])
def test_what_was_typed_into_a_form_stays(has_appearance: bool, tmp_path: Path) -> None:
    """A part has no form: the words are drawn into the page, also where the document leaves it to its reader to draw them."""
    content = form() if has_appearance else form().replace(b"/AP ", b"/XX ")
    parts = plan_parts(written(tmp_path, content), None, Limits(max_pages=1), tmp_path / "parts")
    shown = [words(part.path)[0].split() for part in parts if part.path]
    assert [["Name", "on", "page", f"{page}:", "Ada", f"{page}"] for page in range(2)] == shown[:2]
    assert [["Name", "on", "page", "2:"]] == shown[2:]
    assert parts[2].path is not None
    assert b"https://a.example" in parts[2].path.read_bytes()


def test_a_damaged_page_fails(tmp_path: Path) -> None:
    """A PDF may promise pages that it does not have."""
    document = written(tmp_path, pdf(3).replace(b"/Count 3", b"/Count 9"))
    with pytest.raises(DocumentError, match=r"^It cannot be cut into parts: it is damaged\."):
        plan_parts(document, None, Limits(max_pages=2), tmp_path / "parts")


def test_parts_that_cannot_be_written_fail(tmp_path: Path) -> None:
    """It says why."""
    document = written(tmp_path, pdf(3))
    let_all_in(tmp_path)
    for folder, why in ((tmp_path, "Permission denied"), (Path("/dev/null/x"), "Not a directory")):
        with ordinary_user(), pytest.raises(DocumentError) as caught:
            plan_parts(document, None, Limits(max_pages=2), folder)
        assert (f"It cannot be cut into parts: {why}.", False) == (caught.value.why, caught.value.ends_run)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_fails(tmp_path: Path) -> None:
    """While pdfium saves: what goes wrong then may not be lost in its C code."""
    document = written(tmp_path, scan(3))
    (tmp_path / "part-0.pdf").symlink_to("/dev/full")
    with pytest.raises(DocumentError) as caught:
        plan_parts(document, None, Limits(max_pages=1), tmp_path)
    assert ("It cannot be cut into parts: No space left on device.", True) == (caught.value.why, caught.value.ends_run)


def test_a_file_that_is_gone_fails(tmp_path: Path) -> None:
    """It was there when it was found."""
    document = written(tmp_path, pdf(1))
    (tmp_path / "x").unlink()
    with pytest.raises(DocumentError, match=r"^It cannot be read: No such file or directory\."):
        plan_parts(document, None, ALL, tmp_path)
