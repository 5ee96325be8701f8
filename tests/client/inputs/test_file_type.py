"""What type of document a file is."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from passthrough.client.documents import Kind
from passthrough.client.inputs.file_type import content_type, file_type
from passthrough.client.inputs.ole_streams import ole_streams
from tests.harness.documents import image, jpeg, pdf, png
from tests.harness.office import archive, docx, paragraph, pptx
from tests.harness.ole import ole

pytestmark = pytest.mark.fast

OPEN = "application/vnd.oasis.opendocument"


def branded(major: bytes, *others: bytes) -> bytes:
    """Return the beginning of an ISO base media file with these brands."""
    brands = major + bytes(4) + b"".join(others)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08freeavif"


BY_CONTENT: dict[str, tuple[bytes, str | None]] = {
    "a PDF": (pdf(1), ".pdf"),
    "a PDF behind some bytes": (b"\r\n" * 500 + pdf(1), ".pdf"),
    "a PDF too far behind": (b"\r\n" * 510 + pdf(1), None),
    "a PNG": (png(), ".png"),
    "a JPEG": (jpeg(), ".jpg"),
    "a WEBP": (image("WEBP"), ".webp"),
    "a GIF": (image("GIF"), ".gif"),
    "an old GIF": (image("GIF").replace(b"GIF89a", b"GIF87a"), ".gif"),
    "a BMP": (image("BMP"), ".bmp"),
    "a text that begins like a BMP": (b"BMW: a car of some length", None),
    "a TIFF": (image("TIFF"), ".tiff"),
    "a TIFF, big end first": (b"MM\0*\0\0\0\x08", ".tiff"),
    "a BigTIFF": (b"II+\0\x08\0\0\0", ".tiff"),
    "a BigTIFF, big end first": (b"MM\0+\0\x08\0\0", ".tiff"),
    "an AVIF": (image("AVIF"), ".avif"),
    "a HEIC": (branded(b"heic", b"mif1"), ".heic"),
    "a HEIC by its second brand": (branded(b"mif1", b"mif1", b"heic"), ".heic"),
    "an AVIF by its second brand": (branded(b"mif1", b"avif"), ".avif"),
    "a film": (branded(b"isom", b"mp42"), None),
    "a brand behind the box": (branded(b"mif1"), None),
    "an RTF": (b"{\\rtf1 text}", ".rtf"),
    "a DOCX": (docx(paragraph("text")), ".docx"),
    "a PPTX": (pptx(), ".pptx"),
    "an XLSX": (archive({"[Content_Types].xml": "", "xl/workbook.xml": ""}), ".xlsx"),
    "a DOCX with odd names": (archive({"Word\\Document2.xml": ""}), ".docx"),
    "an ODT": (archive({"mimetype": f"{OPEN}.text"}, zipfile.ZIP_STORED), ".odt"),
    "an ODS": (archive({"mimetype": f"{OPEN}.spreadsheet\n"}), ".ods"),
    "an ODP": (archive({"mimetype": f"{OPEN}.presentation"}), ".odp"),
    "an EPUB": (archive({"mimetype": "application/epub+zip"}), ".epub"),
    "another mimetype": (archive({"mimetype": "application/x-krita"}), None),
    "a mimetype without an end": (archive({"mimetype": "x" * 1_000_000}), None),
    "another archive": (archive({"a.txt": "word/document.xml"}), None),
    "an empty archive": (archive({}), None),
    "half a DOCX": (docx(paragraph("text"))[:300], None),
    "an EPUB that lost some bytes in its middle": (b"PK\3\4" + archive({"mimetype": "application/epub+zip"})[14:], None),
    "a DOC": (ole(["WordDocument", "1Table"]), ".doc"),
    "an XLS": (ole(["Workbook"]), ".xls"),
    "an old XLS": (ole(["Book"]), ".xls"),
    "a PPT": (ole(["Pictures", "Current User", "PowerPoint Document"]), ".ppt"),
    "a DOC of large sectors": (ole(["WordDocument"], 4096), ".doc"),
    "a DOC whose directory is long": (ole([*(f"stream {number}" for number in range(40)), "WordDocument"]), ".doc"),
    "a DOC whose directory is scattered": (ole(["a", "b", "c", "WordDocument"], chain=[5, 3]), ".doc"),
    "another OLE file": (ole(["__properties_version1.0"]), None),
    "an OLE file whose directory is a circle": (ole(["a"] * 7, chain=[2, 2]), None),
    "the beginning of an OLE file": (ole(["WordDocument"])[:40], None),
    "an OLE file whose table is elsewhere": (ole(["a"])[:48] + (109 * 128).to_bytes(4, "little") + ole(["a"])[52:], None),
    "an OLE file without its table": (ole(["a", "b", "c", "d"], chain=[1, 2])[:512], None),
    "nothing": (b"", None),
    "text": (b"a,b\n", None),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(100), None),
    "a web page": (b"<!DOCTYPE html>", None),
}


@pytest.mark.parametrize("case", BY_CONTENT)
def test_the_content_tells_the_type(case: str, tmp_path: Path) -> None:
    """Whatever a file's name is, its first bytes tell; archives and OLE files are told by what is in them."""
    content, expected = BY_CONTENT[case]
    for name in ("x", "x.png", "x.exe"):
        path = tmp_path / name
        path.write_bytes(content)
        found = content_type(path)
        assert expected == (found.suffix if found else None)
        assert found == file_type(path)


BY_NAME: list[tuple[str, bytes, str | None]] = [
    ("a.csv", b"a,b\n", "text/csv"),
    ("A.CSV", b"a,b\n", "text/csv"),
    ("a.md", "Zürich\x0c\x1b".encode("latin-1"), "text/markdown"),
    ("a.htm", b"<p>", "text/html"),
    ("a.txt", "\ufeffa".encode("utf-16"), "text/plain"),
    ("a.txt", "a".encode("utf-16-be"), None),  # without its mark it is not told from a program
    ("a.csv", b"a\0b", None),
    ("a.csv", b"", None),
    ("a.py", b"pass\n", None),
    ("csv", b"a,b\n", None),
    ("a.md", b"How a PDF begins: %PDF-1.7\n", "text/markdown"),
    ("a", b"How a PDF begins: %PDF-1.7\n", "application/pdf"),
    ("a.md", b"%PDF-1.7\n", "application/pdf"),
    ("a.ipynb", b"{}", "application/x-ipynb+json"),
]


@pytest.mark.parametrize(("name", "content", "expected"), BY_NAME)
def test_the_name_tells_the_type_of_text(name: str, content: bytes, expected: str | None, tmp_path: Path) -> None:
    """Text has no mark: the end of its name tells the type, where the content is text at all."""
    path = tmp_path / name
    path.write_bytes(content)
    found = file_type(path)
    assert expected == (found.mime if found else None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(pdf(1), Kind.PDF), (png(), Kind.IMAGE), (docx(""), Kind.OFFICE), (ole(["Workbook"]), Kind.OFFICE), (b"{\\rtf", Kind.OTHER)],
)
def test_the_kind_follows_from_the_type(content: bytes, expected: Kind, tmp_path: Path) -> None:
    """PDFs, images, Office documents and others are treated differently."""
    path = tmp_path / "x"
    path.write_bytes(content)
    found = content_type(path)
    assert found is not None
    assert expected == found.kind


def test_an_archive_with_a_huge_directory_is_not_read(tmp_path: Path) -> None:
    """Its directory would become ten times as large in memory."""
    path = tmp_path / "x"
    names = {f"{number:05}{'x' * 900}": b"" for number in range(9000)}
    path.write_bytes(archive({"word/document.xml": "", **names}, zipfile.ZIP_STORED))
    assert content_type(path) is None


def test_a_long_directory_of_an_ole_file_is_read_to_a_bound(tmp_path: Path) -> None:
    """Sixty-four sectors are looked through; names stand there as they are."""
    path = tmp_path / "x"
    path.write_bytes(ole(["Grüße", *(str(number) for number in range(1, 500))], 4096))
    assert ["Root Entry", "Grüße", "1"] == ole_streams(path)[:3]
    path.write_bytes(ole([str(number) for number in range(400)]))
    assert 64 * 4 == len(ole_streams(path))


def test_a_file_of_another_type_has_no_streams(tmp_path: Path) -> None:
    """Nothing is read off a file that is no OLE file."""
    path = tmp_path / "x"
    path.write_bytes(b"x" + ole(["WordDocument"])[1:])
    assert [] == ole_streams(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """The caller says what it means."""
    with pytest.raises(FileNotFoundError):
        file_type(tmp_path / "x")
