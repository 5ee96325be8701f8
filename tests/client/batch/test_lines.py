"""The files of requests: what stands on a line, when a next file begins, and documents that are not as they were planned."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.batch.lines import LineDocument, LineFiles
from passthrough.client.errors import DocumentError


def document(folder: Path, content: bytes, **more: Any) -> LineDocument:
    """Return a document with this content."""
    path = folder / "document.pdf"
    path.write_bytes(content)
    return LineDocument(**{"is_image": False, "path": path, "size_bytes": len(content), "mime": "application/pdf", **more})


def read(path: Path) -> list[Any]:
    """Return the lines of a file."""
    assert path.read_bytes().endswith(b"\n")
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, (3 << 18) - 1, 3 << 18, (3 << 18) + 1, (3 << 19) + 2])
def test_a_line_holds_the_document_as_a_data_uri(tmp_path: Path, size: int) -> None:
    """Of any length: the base64 that is written block by block is that of the whole."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    with LineFiles(tmp_path) as files:
        files.write("a-0", {"pages": [0, 2], "ü": None}, document(tmp_path, content))
    uri = f"data:application/pdf;base64,{base64.b64encode(content).decode()}"
    body = {"pages": [0, 2], "ü": None, "document": {"type": "document_url", "document_url": uri}}
    assert [{"custom_id": "a-0", "body": body}] == read(files.paths[0])


def test_an_image_an_upload_and_a_url_are_each_named_their_way(tmp_path: Path) -> None:
    """As the API has them."""
    with LineFiles(tmp_path) as files:
        files.write("a", {}, document(tmp_path, b"abc", is_image=True, mime="image/png"))
        files.write("b", {}, LineDocument(is_image=False, stored="id-7"))
        files.write("c", {}, LineDocument(is_image=True, url="https://h/ü.png"))
        files.write("d", {}, LineDocument(is_image=False, url='https://h/"}}}'))
    assert [
        {"type": "image_url", "image_url": "data:image/png;base64,YWJj"},
        {"type": "file", "file_id": "id-7"},
        {"type": "image_url", "image_url": "https://h/ü.png"},
        {"type": "document_url", "document_url": 'https://h/"}}}'},
    ] == [each["body"]["document"] for each in read(files.paths[0])]


def test_a_next_file_begins_where_a_line_has_no_room(tmp_path: Path) -> None:
    """No file is larger than allowed, but for one of a single line."""
    content = b"x" * 300
    with LineFiles(tmp_path, 1200) as files:
        for number in range(5):
            files.write(str(number), {}, document(tmp_path, content))
        files.write("large", {}, document(tmp_path, content * 10))
        files.write("last", {}, document(tmp_path, content))
    assert [["0", "1"], ["2", "3"], ["4"], ["large"], ["last"]] == [
        [one["custom_id"] for one in read(each)] for each in files.paths
    ]
    assert all(each.stat().st_size <= 1200 for each in files.paths if "large" not in each.read_text())


@pytest.mark.parametrize("planned", [0, 299, 301, 1 << 20])
def test_a_document_that_changed_leaves_no_line(tmp_path: Path, planned: int) -> None:
    """The lines before and behind it are whole."""
    good = document(tmp_path, b"x" * 300)
    assert good.path is not None
    with LineFiles(tmp_path) as files:
        files.write("first", {}, good)
        with pytest.raises(DocumentError, match="It changed while it was read"):
            files.write("changed", {}, LineDocument(False, good.path, planned, "application/pdf"))
        with pytest.raises(DocumentError, match="It cannot be read: No such file"):
            files.write("gone", {}, LineDocument(False, tmp_path / "gone.pdf", 300, "application/pdf"))
        files.write("last", {}, good)
    assert ["first", "last"] == [each["custom_id"] for each in read(files.paths[0])]
