"""Bodies reach the API as they must, whatever the size of the file; one that changes meanwhile never arrives whole."""

from __future__ import annotations

import base64
import json
import os
import tracemalloc
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from passthrough.client.api.ocr import InlineSource, ocr
from passthrough.client.api.request_body import FileContent, RequestBody, inline_document_body, inline_document_frame
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import Api, api, responds
from tests.harness.upstream import Peer

GOOD = responds(b'{"pages": []}')
BLOCK = 3 << 16


async def sent(one: Api, path: Path, *, is_image: bool = False) -> None:
    """Send a file by an OCR call."""
    source = InlineSource(path, "image/png" if is_image else "application/pdf", is_image)
    fields = {"model": "m", "pages": [0, 2], "ü\ud800": "ü\udcff"}
    await ocr(one.connection, source, fields, path.with_suffix(".json"), one.on_wait)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 2])
async def test_a_file_travels_as_base64(size: int, tmp_path: Path) -> None:
    """The request is one JSON object, whose length is announced; its document is the file."""
    path = tmp_path / "a.pdf"
    path.write_bytes(os.urandom(size))
    async with api(GOOD) as one:
        await sent(one, path)
        received = one.raw.received[0]
    uri = "data:application/pdf;base64," + base64.b64encode(path.read_bytes()).decode()
    body = {"model": "m", "pages": [0, 2], "ü\ud800": "ü\udcff", "document": {"type": "document_url", "document_url": uri}}
    assert body == json.loads(received.body)
    assert [b"%d" % len(received.body)] == received.values(b"content-length")
    assert ([b"application/json"], []) == (received.values(b"content-type"), received.values(b"transfer-encoding"))


async def test_an_image_is_sent_as_one(tmp_path: Path) -> None:
    """Its field is `image_url`, with its own type."""
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    async with api(GOOD) as one:
        await sent(one, path, is_image=True)
        document = json.loads(one.raw.received[0].body)["document"]
    assert {"type": "image_url", "image_url": "data:image/png;base64,iVBORw=="} == document


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1_000_000)


def _touch(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(12_000_000)
        file.write(b"other")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [_grow, _shrink, _touch])
async def test_a_file_that_changes_while_it_is_sent_is_not_sent_whole(change: object, pdf: Path) -> None:
    """The API gets no whole request, so that nothing is billed, and the document fails with a reason."""

    async def changes(peer: Peer) -> None:
        await peer.head()
        change(pdf)  # type: ignore[operator]
        await peer.ended()

    async with api(changes) as one:
        with pytest.raises(DocumentError) as caught:
            await sent(one, pdf)
        assert (1, []) == (one.raw.connections, one.raw.received)
    assert "The file changed while it was sent, so it was not sent to its end." == caught.value.why
    assert not pdf.with_suffix(".json.part").exists()


async def test_a_file_that_is_gone_fails_its_document(pdf: Path) -> None:
    """Before the call, and between the look at it and the call."""
    async with api(GOOD) as one:
        content = FileContent.of(pdf, as_base64=True)
        os.unlink(pdf)
        with pytest.raises(DocumentError, match="cannot be read: No such file"):
            await sent(one, pdf)
        body = partial(inline_document_body, {}, "document_url", "application/pdf", content, 5.0)
        assert 0 == one.raw.connections
        async with one.connection.request("POST", one.connection.endpoint.ocr_url, None):
            pass
        made = body()
        with pytest.raises(Exception, match="cannot be read"):
            await one.connection.request("POST", one.connection.endpoint.ocr_url, made)
    assert made.failure is not None
    assert "The file cannot be read: No such file or directory." == made.failure.why


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read is Linux's")
def test_a_file_that_cannot_be_read_fails_its_document() -> None:
    """A disk's error is the document's failure."""
    content = FileContent(Path("/proc/self/mem"), 9, 0, as_base64=True)
    with ExitStack() as files:
        file = content.open(files)
        with pytest.raises(DocumentError, match="cannot be read: Input/output error"):
            content.block(file)


async def test_memory_stays_flat_whatever_the_size(tmp_path: Path) -> None:
    """A document of 64 MB is never whole in memory."""
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        file.truncate(64_000_000)
    read = 0

    async def swallows(peer: Peer) -> None:
        nonlocal read
        _, fields, _ = await peer.head()
        length = int(dict(fields)[b"Content-Length"])
        while read < length:
            read += len(await peer.reader.read(1 << 16))
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with api(swallows) as one:
        tracemalloc.start()
        try:
            await sent(one, path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (True, True) == (read > 85_000_000, peak < 8_000_000)


@pytest.mark.parametrize("mime", ["application/pdf", ""])
def test_the_frame_of_a_document_is_one_line_of_json(mime: str) -> None:
    """A batch writes it around the base64 into a line of its file."""
    before, after = inline_document_frame({"model": "m", "note": "a\nb"}, "document_url", mime)
    value = json.loads(before + b"QUJD" + after)
    assert (f"data:{mime or 'application/octet-stream'};base64,QUJD", 0) == (
        value["document"]["document_url"],
        before.count(b"\n"),
    )


def test_a_body_is_not_decoded() -> None:
    """Nobody asks a body of megabytes for its text."""
    with pytest.raises(TypeError):
        RequestBody(b"", None, b"", silence_s=1.0).decode()
