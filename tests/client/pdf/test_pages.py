"""Pages of documents, counted before they are sent."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import pytest
from PIL import Image

from passthrough.client.documents import Document
from passthrough.client.errors import ClientError, DocumentError
from passthrough.client.inputs.file_type import file_type
from passthrough.client.pdf.pages import page_count
from passthrough.client.pdf.tiff import count_tiff_pages
from passthrough.sandbox.documents import read
from passthrough.sandbox.pages import ReadOptions
from tests.harness.documents import image, jpeg, pdf, png
from tests.harness.documents_of_all_kinds import book, fax, letter, sheet
from tests.harness.ole import ole
from tests.harness.rights import let_all_in, ordinary_user

pytestmark = pytest.mark.fast


def document(path: Path) -> Document:
    """Return the document of a file."""
    return Document(path.name, PurePath(path.name), path, type=file_type(path))


def written(folder: Path, content: bytes, name: str = "x") -> Document:
    """Write a file, and return its document."""
    path = folder / name
    path.write_bytes(content)
    return document(path)


EMPTY = b"""%PDF-1.7
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[]/Count 0>> endobj
trailer <</Root 1 0 R/Size 3>>
%%EOF"""

COUNTS: dict[str, tuple[bytes, int | None]] = {
    "a PDF": (pdf(1), 1),
    "a long PDF": (pdf(300), 300),
    "a PDF behind some bytes": (b"\n" * 100 + pdf(2), 2),
    "a PDF without its end": (pdf(3).partition(b"startxref")[0], 3),
    "a PDF that is locked against printing": (pdf(2, password=""), 2),
    "the beginning of a PDF": (b"%PDF-1.7\n", None),
    "a PDF without pages": (EMPTY, None),
    "a picture": (png(), 1),
    "a photograph": (jpeg(), 1),
    "a moving picture": (image("GIF"), 1),
    "a fax": (fax(7), 7),
    "a letter": (letter("one", "two"), None),
    "a sheet": (sheet(), None),
    "a book": (book(), None),
    "an old letter": (ole(["WordDocument"]), None),
    "an RTF": (b"{\\rtf1}", None),
}


@pytest.mark.parametrize("case", COUNTS)
def test_pages_are_counted_where_they_are_known(case: str, tmp_path: Path) -> None:
    """PDFs and TIFFs say how many, other images are one; the rest is the API's to tell."""
    content, expected = COUNTS[case]
    assert expected == page_count(written(tmp_path, content))


def test_a_url_is_not_counted(tmp_path: Path) -> None:
    """The API fetches it; nor is a file whose type is not known."""
    assert page_count(Document("x", PurePath("x"), tmp_path / "x")) is None
    assert page_count(Document("https://a.example/b.pdf", PurePath("b.pdf"), url="https://a.example/b.pdf")) is None


@pytest.mark.parametrize("name", ["ä ö ü.pdf", "日本語.pdf", "~x.pdf", "two\nlines.pdf", os.fsdecode(b"\xff.pdf"), "%20.pdf"])
def test_names_of_any_bytes_are_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the path is relative."""
    written(tmp_path, pdf(2), name)
    monkeypatch.chdir(tmp_path)
    assert [2, 2] == [page_count(document(path)) for path in (tmp_path / name, Path(name))]


def test_a_document_that_needs_a_password_fails(tmp_path: Path) -> None:
    """It says how to save it without."""
    with pytest.raises(DocumentError) as caught:
        page_count(written(tmp_path, pdf(2, password="secret")))
    assert "It needs a password." == caught.value.why
    assert "qpdf" in caught.value.hint


@pytest.mark.parametrize("content", [pdf(1), fax(2)])
def test_a_file_that_is_gone_fails(content: bytes, tmp_path: Path) -> None:
    """It was there when it was found."""
    gone = written(tmp_path, content)
    assert gone.path is not None
    gone.path.unlink()
    with pytest.raises(DocumentError, match=r"^It cannot be read: No such file or directory\."):
        page_count(gone)


@pytest.mark.parametrize("content", [pdf(1), fax(2)])
def test_a_file_that_may_not_be_read_fails(content: bytes, tmp_path: Path) -> None:
    """It is not taken for a damaged one."""
    secret = written(tmp_path, content)
    assert secret.path is not None
    let_all_in(tmp_path)
    secret.path.chmod(0)
    with ordinary_user(), pytest.raises(DocumentError, match=r"^It cannot be read: Permission denied\."):
        page_count(secret)


def test_without_pypdfium2_it_says_what_to_install(tmp_path: Path) -> None:
    """The extra is optional: images are counted without it."""
    (tmp_path / "pypdfium2.py").write_text("raise ImportError")
    (tmp_path / "a.pdf").write_bytes(pdf(1))
    (tmp_path / "b.png").write_bytes(png())
    program = """
import sys
from pathlib import Path, PurePath
from passthrough.client.documents import Document
from passthrough.client.inputs.file_type import file_type
from passthrough.client.pdf.pages import page_count
for name in ("b.png", "a.pdf"):
    try:
        print(page_count(Document(name, PurePath(name), Path(name), type=file_type(Path(name)))))
    except Exception as error:
        print(type(error).__name__, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ["1", f"{ClientError.__name__} To read PDFs, pypdfium2 is needed."] == run.stdout.splitlines()[:2]
    assert "passthrough-ocr[ocr]" in run.stdout


def tiff(*chain: int, big: bool = False, order: str = "<", length: int = 2) -> bytes:
    """Return a TIFF of directories of `length` entries, each of which names the next offset; the first stands at 16."""
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 16)
    )
    body = b""
    for following in chain:
        count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
        body += struct.pack(f"{order}{count}", length) + bytes(entry * length) + struct.pack(f"{order}{offset}", following)
    return head.ljust(16, b"\0") + body


TIFFS: dict[str, tuple[bytes, int]] = {
    "one": (tiff(0), 1),
    "two": (tiff(16 + 30, 0), 2),
    "big end first": (tiff(16 + 30, 0, order=">"), 2),
    "big": (tiff(16 + 56, 16 + 112, 0, big=True), 3),
    "big, big end first": (tiff(16 + 56, 0, big=True, order=">"), 2),
    "a circle": (tiff(16 + 30, 16), 2),
    "one that names itself": (tiff(16), 1),
    "one whose next is beyond the end": (tiff(10_000), 1),
    "one whose end is cut off": (tiff(16 + 30, 0)[:-3], 2),
    "one of more pages than are counted": (tiff(*range(22, 22 + 6 * 100_001, 6), length=0), 100_000),
    "one whose next is no offset of any file": (tiff(2**64 - 1, big=True), 1),
    "one of more entries than any file has": (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**64 - 1), 1),
    "a head alone": (b"II*\0", 1),
    "a head with no directory": (b"II*\0\0\0\0\0", 1),
}


@pytest.mark.parametrize("case", TIFFS)
def test_the_directories_of_a_tiff_are_its_pages(case: str, tmp_path: Path) -> None:
    """A damaged chain counts as far as it goes."""
    content, expected = TIFFS[case]
    (tmp_path / "x").write_bytes(content)
    assert expected == count_tiff_pages(tmp_path / "x")


def test_pillow_counts_alike(tmp_path: Path) -> None:
    """A real TIFF, with compression."""
    out = io.BytesIO()
    frames = [Image.new("RGB", (50, 50), (number, 0, 0)) for number in range(12)]
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw")
    (tmp_path / "x").write_bytes(out.getvalue())
    assert 12 == count_tiff_pages(tmp_path / "x")


def test_client_and_sandbox_use_pdfium_in_one_process(tmp_path: Path) -> None:
    """The library is not thread safe: with `--sandbox`, both are in one process, each on threads of its own."""
    counted, content = written(tmp_path, pdf(30)), pdf(12, picture=png())
    begin = threading.Barrier(6)

    def count(_: int) -> int | None:
        begin.wait()
        return [page_count(counted) for _ in range(20)][-1]

    def sandbox(_: int) -> int:
        begin.wait()
        return [len(read(content, ReadOptions(range, with_content=True), lambda: False)) for _ in range(4)][-1]

    with ThreadPoolExecutor(6) as threads:
        counts, reads = threads.map(count, range(3)), threads.map(sandbox, range(3))
        assert ([30] * 3, [12] * 3) == (list(counts), list(reads))
