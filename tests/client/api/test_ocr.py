"""OCR calls of a sandbox, alone and behind the real proxy, in each of the ways in which a document gets there."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.files import delete, upload
from passthrough.client.api.ocr import InlineSource, Source, StoredSource, UrlSource, ocr
from passthrough.client.errors import DocumentError
from passthrough.errors import Refusal
from passthrough.exchange import Exchange
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.routes import Route, Timeouts
from tests.harness import documents
from tests.harness.api_calls import FastClock, api, responds
from tests.harness.ports import free_port
from tests.harness.proxy import road, route_to
from tests.harness.sandbox_caller import sandbox
from tests.harness.upstream import Peer, upstream

FIELDS = {"model": "mistral-ocr-latest", "include_image_base64": True}
KEY = "key-of-the-client"
CLIENT = ClientKey("team", hashlib.sha256(KEY.encode()).digest())


async def called(connection: Connection, source: Source, into: Path, **fields: Any) -> Any:
    """Return the JSON of a response."""
    await ocr(connection, source, {**FIELDS, **fields}, into, lambda *_: None)
    return _json(into)


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


@pytest.mark.parametrize("is_proxied", [False, True])
async def test_a_document_is_read_however_it_comes(is_proxied: bool, tmp_path: Path) -> None:
    """Inline, uploaded, by URL; PDFs and pictures; alone and through the proxy, whose exchanges are as many as the calls."""
    document, picture, into = tmp_path / "a.pdf", tmp_path / "a.png", tmp_path / "response.json"
    document.write_bytes(documents.pdf(3))
    picture.write_bytes(documents.png())
    async with sandbox() as caller, road(route_to(int(caller.base.rpartition(":")[2]), b"/mistral"), clients=[CLIENT]) as house:
        base = f"http://127.0.0.1:{house.port}/mistral/v1" if is_proxied else caller.base
        async with Connection(Endpoint.of(base, KEY), FastClock().timing()) as connection:
            inline = InlineSource(document, "application/pdf")
            assert [0, 1, 2] == [page["index"] for page in (await called(connection, inline, into))["pages"]]
            assert [1] == [page["index"] for page in (await called(connection, inline, into, pages=[1]))["pages"]]
            shown = (await called(connection, InlineSource(picture, "image/png", is_image=True), into))["pages"]
            assert [0] == [page["index"] for page in shown]
            file_id = (await upload(connection, document, "a.pdf", "ocr")).id
            assert 3 == len((await called(connection, StoredSource(file_id), into))["pages"])
            await delete(connection, file_id)
            with pytest.raises(DocumentError, match="not found"):
                await called(connection, StoredSource(file_id), into)
        assert 7 * is_proxied == len(await house.booked(7 * is_proxied))


async def test_a_url_is_sent_as_it_is(tmp_path: Path) -> None:
    """The API fetches it; a picture's has a field of its own."""
    async with api(responds(b"{}")) as one:
        for source in (UrlSource("https://a.example/ü?x=1"), UrlSource("https://a.example/b.png", is_image=True)):
            await ocr(one.connection, source, {"model": "m"}, tmp_path / "response.json", one.on_wait)
        sent = [json.loads(each.body)["document"] for each in one.raw.received]
    assert [
        {"type": "document_url", "document_url": "https://a.example/ü?x=1"},
        {"type": "image_url", "image_url": "https://a.example/b.png"},
    ] == sent


async def _failure(
    tmp_path: Path, *routes: Route, key: str | None = KEY, path: str = "/mistral", **options: Any
) -> DocumentError:
    """Return the failure of a call through the proxy."""
    document = tmp_path / "a.pdf"
    document.write_bytes(documents.pdf(1))
    async with road(*routes, clients=[CLIENT], **options) as house:
        endpoint = Endpoint.of(f"http://127.0.0.1:{house.port}{path}", key)
        async with Connection(endpoint, FastClock().timing()) as connection:
            with pytest.raises(DocumentError) as caught:
                await called(connection, InlineSource(document, "application/pdf"), tmp_path / "response.json")
        await house.quiet()
    assert ["a.pdf"] == os.listdir(tmp_path)
    return caught.value


async def test_the_proxys_own_responses_are_understood(tmp_path: Path) -> None:
    """No key, no route, no provider: each ends the run, with the proxy's words."""
    nowhere = route_to(free_port(), b"/mistral")
    error = await _failure(tmp_path, nowhere, key="wrong")
    assert ("The API does not accept the key (401): ", True) == (error.why[:39], error.ends_run)
    error = await _failure(tmp_path, nowhere, key=None)
    assert ("The API wants a key (401): ", True) == (error.why[:27], error.ends_run)
    error = await _failure(tmp_path, nowhere, path="/azure")
    assert ("The proxy has no such path (404): No route has this path", True) == (error.why[:56], error.ends_run)
    error = await _failure(tmp_path, nowhere)
    assert ("The API refused it (502): ", True, True) == (error.why[:26], "billed" not in error.why, error.ends_run)


async def test_a_provider_that_fails_behind_the_proxy_may_have_billed(tmp_path: Path) -> None:
    """Whatever the proxy says of it, the call is not sent again."""

    async def closes(peer: Peer) -> None:
        await peer.request()

    async def waits(peer: Peer) -> None:
        await peer.request()
        await peer.ended()

    for script, status in ((closes, 502), (waits, 504)):
        async with upstream(script) as raw:
            error = await _failure(tmp_path, route_to(raw.port, b"/mistral", timeouts=Timeouts(header_s=0.2)))
            assert 1 == len(raw.received)
        assert (f"The API failed ({status})", True) == (error.why[:20], error.why.endswith("it may have been billed."))


async def test_a_spent_budget_ends_the_run(tmp_path: Path) -> None:
    """The proxy says whose it is and when it resets."""

    class Spent:
        def enter(self, exchange: Exchange) -> None:
            raise Refusal("budget_spent", "The budget of team is spent: 5 of 5 USD.", retry_after_s=1)

    error = await _failure(tmp_path, route_to(free_port(), b"/mistral"), allowance=Spent())
    assert ("The budget of team is spent: 5 of 5 USD.", True) == (error.why, error.ends_run)
    assert "Wait until the budget's period ends" in error.hint


async def test_workers_share_what_the_proxy_lets_through(tmp_path: Path) -> None:
    """Eight workers where two may be served at once: 429s are waited for, every document is read once."""
    team = ClientKey("team", CLIENT.digest, max_parallel=2)
    document = tmp_path / "a.pdf"
    document.write_bytes(documents.pdf(1))
    async with sandbox() as caller, road(route_to(int(caller.base.rpartition(":")[2]), b"/mistral"), clients=[team]) as house:
        endpoint = Endpoint.of(f"http://127.0.0.1:{house.port}/mistral", KEY)
        async with Connection(endpoint) as connection:
            source = InlineSource(document, "application/pdf")
            sent = (called(connection, source, tmp_path / f"response-{number}") for number in range(8))
            found = await asyncio.gather(*sent)
    assert [1] * 8 == [len(each["pages"]) for each in found]


async def test_the_document_is_the_files_bytes(pdf: Path, tmp_path: Path) -> None:
    """Sixteen megabytes through the proxy, byte by byte."""
    sent = pdf.read_bytes()  # noqa: ASYNC240  # nothing else waits for the loop
    async with upstream(responds(b'{"pages": []}')) as raw, road(route_to(raw.port, b"/mistral"), clients=[CLIENT]) as house:
        async with Connection(Endpoint.of(f"http://127.0.0.1:{house.port}/mistral", KEY)) as connection:
            await called(connection, InlineSource(pdf, "application/pdf"), tmp_path / "response.json")
        uri = json.loads(raw.received[0].body)["document"]["document_url"]
    assert sent == base64.b64decode(uri.removeprefix("data:application/pdf;base64,"), validate=True)
