"""Files at the API, in the sandbox and before APIs that fail in the middle."""

from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.files import FilesMissing, NotStored, Stored, delete, download, find, stored_name, upload
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import Act, FastClock, api, closes, responds, says, sends
from tests.harness.sandbox_caller import sandbox

CONTENT = b"%PDF-1.7\r\n--boundary\r\n" + bytes(range(256)) * 3000
NAMES = [
    "a.pdf",
    "Rechnung März (1).pdf",
    'with "quotes" and \\.pdf',
    "50%25.pdf",
    "new\nline.pdf",
    "\udcff.pdf",
    "日本.pdf",
    ";.pdf",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_is_uploaded_found_downloaded_and_deleted(name: str, tmp_path: Path) -> None:
    """Whatever its name is, its bytes cross unchanged, and it is found by exactly this name."""
    path, into = tmp_path / "file", tmp_path / "download"
    path.write_bytes(CONTENT)
    async with sandbox() as caller, Connection(Endpoint.of(caller.base, None), FastClock().timing()) as connection:
        other = (await upload(connection, path, f"other {name}", "ocr")).id
        file_id = (await upload(connection, path, name, "ocr")).id
        assert [file_id] == await find(connection, name)
        _, stored = await caller.call("GET", f"/v1/files/{file_id}")
        assert (stored_name(name), "ocr", len(CONTENT)) == (stored["filename"], stored["purpose"], stored["bytes"])
        await download(connection, file_id, into)
        assert (CONTENT, {"file", "download"}) == (into.read_bytes(), set(os.listdir(tmp_path)))
        await delete(connection, file_id)
        await delete(connection, file_id)
        assert [] == await find(connection, name)
        _, listed = await caller.call("GET", "/v1/files")
        assert [other] == [each["id"] for each in listed["data"]]


async def test_an_upload_has_one_plain_form(tmp_path: Path) -> None:
    """Its length is announced, because Mistral takes no chunked uploads; `purpose` stands before the file."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    async with api(says(200, {"id": "file-1"})) as one:
        assert Stored("file-1") == await upload(one.connection, path, "a.pdf", "batch", one.on_wait)
        received = one.raw.received[0]
        assert 1 == one.raw.connections
    assert (b"POST /v1/files HTTP/1.1", [b"%d" % len(received.body)]) == (received.line, received.values(b"content-length"))
    boundary = re.fullmatch(rb"multipart/form-data; boundary=([a-z0-9-]+)", received.values(b"content-type")[0])
    assert boundary is not None
    empty, purpose, file, end = received.body.split(b"--" + boundary[1])
    assert (b"", b"--\r\n") == (empty, end)
    assert b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' == purpose
    head = b'\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
    assert head + CONTENT + b"\r\n" == file


@pytest.mark.parametrize(
    "act",
    [
        says(404, {"detail": "Not Found"}),
        says(405, {"detail": "Method Not Allowed"}),
        says(501, {}),
        says(404, {"message": "No route."}, b"X-Passthrough-Error: no_route"),
        says(403, {"message": "Not yours."}, b"X-Passthrough-Error: route_forbidden"),
    ],
)
async def test_an_api_without_files_is_known_as_one_from_then_on(act: Act, tmp_path: Path) -> None:
    """Documents travel in their requests then."""
    (tmp_path / "file").write_bytes(CONTENT)
    async with api(act) as one:
        assert one.connection.has_files
        with pytest.raises(FilesMissing, match=r"stores no files \(\d+\): .+\n  Check --base-url"):
            await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")
        assert (False, 1) == (one.connection.has_files, one.raw.connections)


@pytest.mark.parametrize("act", [says(401, {}), says(403, {}), says(413, {}), says(422, {})])
async def test_other_refusals_of_an_upload_are_failures(act: Act, tmp_path: Path) -> None:
    """They do not mean that there are no files."""
    (tmp_path / "file").write_bytes(CONTENT)
    async with api(act) as one:
        with pytest.raises(DocumentError) as caught:
            await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")
        assert (True, NotStored) == (one.connection.has_files, type(caught.value))


@pytest.mark.parametrize(("act", "is_known"), [(None, True), (says(500, {}), False), (closes, False)])
async def test_it_is_known_where_nothing_can_be_stored(act: Act | None, is_known: bool, tmp_path: Path) -> None:
    """Where there was no connection, the API has no file; after a request that left whole it may have one."""
    (tmp_path / "file").write_bytes(CONTENT)
    async with api(act or closes) as one:
        if act is None:
            await one.raw.close()
        with pytest.raises(DocumentError) as caught:
            await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")
        assert is_known is isinstance(caught.value, NotStored)


async def test_what_a_lost_upload_left_is_deleted(tmp_path: Path) -> None:
    """The response to an upload is lost: it is sent again, and the file of the first try goes."""
    (tmp_path / "file").write_bytes(CONTENT)
    found = {
        "data": [{"id": "file-2", "filename": "a.pdf"}, {"id": "file-1", "filename": "a.pdf"}, {"id": "x", "filename": "a.pdf2"}]
    }
    async with api(closes, says(200, {"id": "file-2"}), says(200, found), says(200, {"deleted": True})) as one:
        assert Stored("file-2") == await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")
        lines = [each.line.removesuffix(b" HTTP/1.1") for each in one.raw.received]
    search = b"GET /v1/files?search=a.pdf&page=0&page_size=100"
    assert [b"POST /v1/files", b"POST /v1/files", search, b"DELETE /v1/files/file-1"] == lines


async def test_what_a_lost_upload_left_and_cannot_be_looked_for_is_said(tmp_path: Path) -> None:
    """Then all files of its name are to be deleted, and not only the one that is known."""
    (tmp_path / "file").write_bytes(CONTENT)
    async with api(closes, says(200, {"id": "file-2"}), responds(b"", status=b"403 Said")) as one:
        assert Stored("file-2", is_only=False) == await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")


@pytest.mark.parametrize(("status", "is_done"), [(200, True), (204, True), (404, True), (410, True), (403, False)])
async def test_a_file_that_is_not_there_is_deleted(status: int, is_done: bool) -> None:
    """Other refusals are failures: the file stays noted."""
    async with api(responds(b"", status=b"%d Said" % status)) as one:
        with nullcontext() if is_done else pytest.raises(DocumentError):
            await delete(one.connection, "file-1", one.on_wait)
        assert 1 == one.raw.connections


async def test_a_long_list_is_read_page_by_page() -> None:
    """Of an API that ignores `search` at most the newest 500 files are looked at."""
    full = {"data": [{"id": f"f{number}", "filename": "a.pdf" if number == 7 else "b.pdf"} for number in range(100)]}
    async with api(says(200, full), says(200, full), says(200, {"data": [*full["data"][:9], None, 7, {}]})) as one:
        assert ["f7", "f7", "f7"] == await find(one.connection, "a.pdf")
        assert 3 == one.raw.connections
    async with api(says(200, full)) as one:
        assert (5, 5) == (len(await find(one.connection, "a.pdf")), one.raw.connections)
    async with api(says(200, {"data": None})) as one:
        assert [] == await find(one.connection, "a.pdf")


@pytest.mark.parametrize(
    "value", [{}, [], None, {"id": 7}, {"id": ""}, {"id": ".."}, {"id": "a/../b"}, {"id": "a b"}, {"id": "é"}]
)
async def test_an_id_that_is_none_is_not_used(value: object, tmp_path: Path) -> None:
    """It would become a part of a URL."""
    (tmp_path / "file").write_bytes(CONTENT)
    async with api(says(200, value)) as one:
        with pytest.raises(DocumentError, match="not one of an API of Mistral's shape"):
            await upload(one.connection, tmp_path / "file", "a.pdf", "ocr")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'"' + b"x" * (1 << 24) + b'"'])
async def test_what_is_no_json_fails(body: bytes) -> None:
    """Also a response beyond all measure."""
    async with api(responds(body)) as one:
        with pytest.raises(DocumentError, match="not one of an API of Mistral's shape"):
            await find(one.connection, "a.pdf")


async def test_a_download_that_breaks_off_begins_again(tmp_path: Path) -> None:
    """It is free; the file has its name only when it is whole, whatever its bytes are."""
    into = tmp_path / "results.jsonl"
    whole = json.dumps({"custom_id": "1"}).encode() + b"\n" + CONTENT

    async with api(_cut(whole, 40), _cut(whole, 400_000), responds(whole)) as one:
        await download(one.connection, "file-1", into)
        assert [b"GET /v1/files/file-1/content HTTP/1.1"] * 3 == [each.line for each in one.raw.received]
    assert (whole, ["results.jsonl"]) == (into.read_bytes(), os.listdir(tmp_path))
    async with api(says(404, {"detail": "File not found."})) as one:
        with pytest.raises(DocumentError):
            await download(one.connection, "file-1", tmp_path / "other")
    assert ["results.jsonl"] == os.listdir(tmp_path)


def _cut(whole: bytes, length: int) -> Act:
    return sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[:length])
