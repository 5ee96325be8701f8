"""A response has its file's name when it is whole and on the disk, and at no other moment."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
from pathlib import Path

import pytest

from passthrough.client.api.ocr import UrlSource, ocr
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import Act, Api, api, responds, sends
from tests.harness.upstream import Peer, chunk, ok

SOURCE = UrlSource("https://example.org/a.pdf")
WHOLE = json.dumps({"pages": [{"index": 0, "markdown": "ä" * 300_000}], "model": "m"}).encode()


async def called(one: Api, into: Path) -> None:
    """Call the API."""
    await ocr(one.connection, SOURCE, {"model": "m"}, into, one.on_wait)


@pytest.mark.parametrize(
    "act",
    [
        responds(WHOLE),
        responds(WHOLE, status=b"201 Created"),
        responds(WHOLE + b" \n" * 200_000),
        responds(b"\xef\xbb\xbf\n" + WHOLE),
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(WHOLE[:7]) + chunk(WHOLE[7:]) + chunk(b"")),
        sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + WHOLE),
        sends(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok(WHOLE)),
        responds(gzip.compress(WHOLE), b"Content-Encoding: gzip"),
    ],
)
async def test_a_whole_response_is_stored(act: Act, tmp_path: Path) -> None:
    """However it is framed or compressed; what stood there is replaced."""
    into = tmp_path / "response.json"
    into.write_bytes(b"of an earlier run")
    async with api(act) as one:
        await called(one, into)
    assert (WHOLE, [into.name]) == (into.read_bytes().strip(b"\xef\xbb\xbf\n "), os.listdir(tmp_path))


@pytest.mark.parametrize(
    "act",
    [
        sends(ok(WHOLE)[:-1]),
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(WHOLE)),
        sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + WHOLE[:-1]),
        responds(gzip.compress(WHOLE)[:-900], b"Content-Encoding: gzip"),
    ],
)
async def test_a_response_that_is_not_whole_is_none(act: Act, tmp_path: Path) -> None:
    """Nothing is left of it, and the failure says that it may have been billed."""
    async with api(act) as one:
        with pytest.raises(DocumentError, match=r"may have been billed\."):
            await called(one, tmp_path / "response.json")
        assert 1 == one.raw.connections
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("act", "ends_run"),
    [
        (responds(b""), False),
        (responds(b"", status=b"204 No Content"), False),
        (responds(b"null", b"Content-Type: application/json"), False),
        (responds(b"[]"), False),
        (responds(b"  <html>", b"Content-Type: text/html; charset=utf-8"), True),
    ],
)
async def test_a_response_that_is_no_result_is_none(act: Act, ends_run: bool, tmp_path: Path) -> None:
    """Azure has answered `null`; a page means that something else than an API listens there, and ends the run."""
    async with api(act) as one:
        with pytest.raises(DocumentError) as caught:
            await called(one, tmp_path / "response.json")
    why = "The API responded with something else than an OCR result; it may have been billed."
    assert (why, ends_run, []) == (caught.value.why, caught.value.ends_run, os.listdir(tmp_path))


async def test_a_response_grows_aside(tmp_path: Path) -> None:
    """While it comes, only `.part` is there; a cancellation removes it."""
    into = tmp_path / "response.json"
    arrived = asyncio.Event()

    async def stops(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(WHOLE)[:-1])
        arrived.set()
        await peer.ended()

    async with api(stops) as one:
        task = asyncio.ensure_future(called(one, into))
        await arrived.wait()
        assert ["response.json.part"] == os.listdir(tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [] == os.listdir(tmp_path)


async def test_a_place_that_cannot_be_written_is_found_before_the_call(tmp_path: Path) -> None:
    """A response that cannot be stored is not paid for."""
    async with api(responds(WHOLE)) as one:
        with pytest.raises(DocumentError) as caught:
            await called(one, tmp_path / "missing" / "response.json")
        assert 0 == one.raw.connections
    assert (True, False) == ("cannot be written: No such file" in caught.value.why, caught.value.ends_run)


async def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    """The response is paid for and lost; the next one would be, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with api(responds(WHOLE)) as one:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores SIGXFSZ: the write fails with EFBIG
        try:
            with pytest.raises(DocumentError) as caught:
                await called(one, tmp_path / "response.json")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ("The response cannot be written: File too large; it was billed.", True) == (caught.value.why, caught.value.ends_run)
    assert [] == os.listdir(tmp_path)
