"""What type of document a file is."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from passthrough.client.documents import Kind
from passthrough.client.inputs.file_type import TEXT_TYPES, content_type, file_type
from passthrough.client.inputs.ole_streams import ole_streams
from passthrough.client.inputs.zip_type import zip_type
from tests.harness.documents import image, jpeg, pdf, png
from tests.harness.office import archive, docx, paragraph, pptx
from tests.harness.ole import ole

pytestmark = pytest.mark.fast

OPEN = "application/vnd.oasis.opendocument"


def branded(major: bytes, *others: bytes) -> bytes:
    """Return the beginning of an ISO base media file with these brands."""
    brands = major + bytes(4) + b"".join(others)
    return (8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + b"\0\0\0\x08freeavif"


def damaged(method: int) -> bytes:
    """Return an archive whose `mimetype` says that it is compressed by a method, and is not."""
    whole = archive({"mimetype": "\t\4\5\0€€"}, zipfile.ZIP_STORED)
    at = whole.index(b"PK\1\2") + 10
    return whole[:8] + bytes([method, 0]) + whole[10:at] + bytes([method, 0]) + whole[at + 2 :]


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
    "a BMP of OS/2": (b"BM" + bytes(12) + b"\x0c\0\0\0", ".bmp"),
    "a number like a BMP's header": (b"bm" + bytes(12) + b"\x28\0\0\0", None),
    "a text that begins like a BMP": (b"BMW: a car of some length", None),
    "a TIFF": (image("TIFF"), ".tiff"),
    "a TIFF, big end first": (b"MM\0*\0\0\0\x08", ".tiff"),
    "a BigTIFF": (b"II+\0\x08\0\0\0", ".tiff"),
    "a BigTIFF, big end first": (b"MM\0+\0\x08\0\0", ".tiff"),
    "an AVIF": (image("AVIF"), ".avif"),
    "a HEIC": (branded(b"heic", b"mif1"), ".heic"),
    "a HEIC by its second brand": (branded(b"mif1", b"mif1", b"heic"), ".heic"),
    "an AVIF by its second brand": (branded(b"mif1", b"avif"), ".avif"),
    "a HEIC's own brand after another's": (branded(b"isom", b"mp42", b"heic"), ".heic"),
    "a sound": (b"RIFF\0\0\0\0WAVEfmt ", None),
    "a WEBP without its frame": (b"RIFX\0\0\0\0WEBP", None),
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
    "an archive with broken deflate": (damaged(zipfile.ZIP_DEFLATED), None),
    "an archive with broken bzip2": (damaged(zipfile.ZIP_BZIP2), None),
    "an archive with broken LZMA": (damaged(zipfile.ZIP_LZMA), None),
    "a DOC": (ole(["WordDocument", "1Table"]), ".doc"),
    "an XLS": (ole(["Workbook"]), ".xls"),
    "an old XLS": (ole(["Book"]), ".xls"),
    "a PPT": (ole(["Pictures", "Current User", "PowerPoint Document"]), ".ppt"),
    "a DOC of large sectors": (ole(["WordDocument"], 4096), ".doc"),
    "a DOC whose directory is long": (ole([*(f"stream {number}" for number in range(40)), "WordDocument"]), ".doc"),
    "a DOC whose directory is scattered": (ole(["a", "b", "c", "WordDocument"], chain=[5, 3]), ".doc"),
    "a DOC whose directory goes far": (
        ole([*(str(number) for number in range(7)), "WordDocument"], chain=[300, 129, 400]),
        ".doc",
    ),
    "a DOC with an odd name before": (ole(["x" * 31, "WordDocument"]), ".doc"),
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


@pytest.mark.parametrize("size", [12, 40, 52, 56, 64, 108, 124])
def test_the_headers_of_a_bmp_have_sizes_of_their_own(size: int, tmp_path: Path) -> None:
    """The two letters alone are no mark: the size that follows has to be one of seven."""
    path = tmp_path / "x"
    for number, expected in ((size - 1, None), (size, "image/bmp"), (size + 1, None), (size << 8, None)):
        path.write_bytes(b"BM" + bytes(12) + number.to_bytes(4, "little"))
        found = content_type(path)
        assert expected == (found.mime if found else None)


@pytest.mark.parametrize("code", range(256))
def test_text_has_no_control_characters(code: int, tmp_path: Path) -> None:
    """But those that separate lines and pages, and the terminal's; encodings are not judged."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" + bytes([code]))
    assert (code >= 32 or code in b"\t\n\r\x0c\x1b") == (file_type(path) is not None)


def test_text_is_judged_by_its_beginning(tmp_path: Path) -> None:
    """The first eight kilobytes."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * 8191 + b"\0")
    assert file_type(path) is None
    path.write_bytes(b"a" * 8192 + b"\0")
    assert file_type(path) is not None


def test_each_type_has_one_media_type_and_one_end() -> None:
    """What a data URI names, and how a file of this type is usually named."""
    kinds = {(suffix, found.kind, found.suffix) for suffix, found in TEXT_TYPES.items()}
    ends = (".txt", ".md", ".csv", ".tsv", ".html", ".xml", ".fb2", ".opml", ".tex", ".bib", ".rst", ".ipynb")
    assert {*((end, Kind.OTHER, end) for end in ends), (".htm", Kind.OTHER, ".html")} == kinds
    assert {"text", "application"} == {found.mime.partition("/")[0] for found in TEXT_TYPES.values()}


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (pdf(1), "application/pdf"),
        (png(), "image/png"),
        (jpeg(), "image/jpeg"),
        (image("WEBP"), "image/webp"),
        (image("GIF"), "image/gif"),
        (image("TIFF"), "image/tiff"),
        (image("AVIF"), "image/avif"),
        (branded(b"heic"), "image/heic"),
        (b"{\\rtf", "application/rtf"),
        (docx(""), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (pptx(), "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        (archive({"xl/workbook.xml": ""}), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (archive({"mimetype": f"{OPEN}.text"}), f"{OPEN}.text"),
        (archive({"mimetype": "application/epub+zip"}), "application/epub+zip"),
        (ole(["WordDocument"]), "application/msword"),
        (ole(["Workbook"]), "application/vnd.ms-excel"),
        (ole(["PowerPoint Document"]), "application/vnd.ms-powerpoint"),
    ],
)
def test_the_media_type_is_the_registered_one(content: bytes, mime: str, tmp_path: Path) -> None:
    """As IANA lists them, by which the API knows them."""
    path = tmp_path / "x"
    path.write_bytes(content)
    found = content_type(path)
    assert found is not None
    assert (mime, mime.startswith("image/")) == (found.mime, found.kind is Kind.IMAGE)


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


@pytest.mark.parametrize("comment", [b"", b"x" * 0xFFFF])
def test_an_archive_with_a_huge_directory_is_not_read(comment: bytes, tmp_path: Path) -> None:
    """Its directory would become ten times as large in memory."""
    path = tmp_path / "x"
    for parts, expected in ((10, ".docx"), (140, None)):
        with zipfile.ZipFile(path, "w") as archived:
            archived.comment = comment
            for number in range(parts):
                archived.writestr(f"{number:04}" + "x" * 60_000, "")
            archived.writestr("word/document.xml", "")
        found = content_type(path)
        assert expected == (found.suffix if found else None)


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


@pytest.mark.parametrize("read", [file_type, content_type, zip_type, ole_streams])
def test_a_missing_file_is_an_error(read: Callable[[Path], object], tmp_path: Path) -> None:
    """The caller says what it means: it is not taken for a damaged one."""
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "x")
