"""Requests to `/v1/ocr` while the program stops, from a page of another site, and for a model that has no price."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.ocr_client import ask, request
from tests.harness.ocr_upstreams import Behaviour, OcrUpstream, always, ocr_upstreams, throttled
from tests.harness.waiting import until
from tests.scenarios.test_litellm_traps import INLINE, entry, post, serving

pytestmark = pytest.mark.process

LEDGER = "sqlite:///books.db"


def booked(folder: Path) -> list[tuple[Any, ...]]:
    """Return status, outcome, deployment and attempts of all that is in the ledger."""
    with closing(sqlite3.connect(folder / "books.db")) as ledger:
        return ledger.execute("SELECT status, outcome, deployment, attempts FROM exchanges").fetchall()


async def test_what_is_in_flight_is_finished(tmp_path: Path) -> None:
    """Calls that wait for their response, and uploads that are half there, end as they would have; then the exit code is 0."""
    go = asyncio.Event()
    above = OcrUpstream(mood=always(Behaviour(until=go)))
    sent = request(json.dumps({"model": "mistral-ocr", "document": INLINE, "x": "A" * 200_000}).encode())
    sent = sent.replace(b"Host: x", b"Host: localhost", 1)
    async with ocr_upstreams(above), serving(tmp_path, entry(above, info={"id": "one"}), ledger=LEDGER) as running:
        waiting = [asyncio.create_task(post(running)) for _ in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(sent[:150_000])
        await until(lambda: above.connections == 6)
        running.signal(signal.SIGTERM)
        await running.says("Stopping: 6 requests in flight")
        writer.write(sent[150_000:])
        go.set()
        assert [200] * 5 == [status for status, _, _ in await asyncio.gather(*waiting)]
        answer = await reader.read()
        assert (True, True) == (answer.startswith(b"HTTP/1.1 200"), b"\r\nConnection: close\r\n" in answer)
        writer.close()
        assert 0 == await running.ended()
    assert [(200, "completed", "one", 1)] * 6 == booked(tmp_path)


async def test_the_deadline_cuts_off(tmp_path: Path) -> None:
    """A call, a wait before the next try, and a body that is still awaited are broken off, and booked so; the exit code is 0."""
    slow = OcrUpstream(mood=always(Behaviour(until=asyncio.Event())))
    busy = OcrUpstream(mood=always(throttled("50")))
    entries = entry(slow, info={"id": "slow"}), entry(busy, "busy", info={"id": "busy"})
    settings = {"ledger": LEDGER, "drain_timeout": "300ms"}
    async with ocr_upstreams(slow, busy), serving(tmp_path, *entries, **settings) as running:
        asked = [asyncio.create_task(post(running, model=model)) for model in ("mistral-ocr", "busy")]
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b'POST /v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{"document": "')
        await until(lambda: slow.connections + len(busy.calls) == 2)
        assert 0 == await running.stop()
        assert all(isinstance(each, OSError | EOFError) for each in await asyncio.gather(*asked, return_exceptions=True))
        writer.close()
        await running.says("3 requests were cut off")
    assert {(None, "cut_off", None, 0), (None, "cut_off", "busy", 1), (None, "cut_off", "slow", 1)} == set(booked(tmp_path))


async def test_a_page_of_a_named_origin_may_call(tmp_path: Path) -> None:
    """Its preflight is answered here, and its response carries what a browser wants to see; one of another site gets neither."""
    above = OcrUpstream()
    key = "team-" + "k" * 40
    settings = {"client_keys": [{"name": "team", "key": key}], "cors": ["http://app.example"]}
    async with ocr_upstreams(above), serving(tmp_path, entry(above), **settings) as running:
        fields = b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\n"
        for path in (b"/v1/ocr", b"/ocr"):
            asked = b"OPTIONS %b HTTP/1.1\r\nHost: localhost\r\nOrigin: http://app.example\r\n%b\r\n" % (path, fields)
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            assert (True, True) == (b" 204 " in head, b"Access-Control-Allow-Origin: http://app.example\r\n" in head)
            writer.close()
        body = json.dumps({"model": "mistral-ocr", "document": INLINE}).encode()
        for origin, allowed in (("http://app.example", "http://app.example"), ("http://evil.example", None)):
            data = request(body, "/v1/ocr", f"Authorization: Bearer {key}", f"Origin: {origin}")
            status, answered, _ = await ask(running.port, data.replace(b"Host: x", b"Host: localhost", 1))
            assert (200, allowed) == (status, answered.get("access-control-allow-origin"))


async def test_a_model_without_a_price_closes_a_budget_that_refuses_it(tmp_path: Path) -> None:
    """The refusal names the model, and no address; a price in the list's entry opens it again by a reload."""
    pages = {"pages": [], "model": "unheard-of", "usage_info": {"pages_processed": 3}}
    above = OcrUpstream(mood=always(Behaviour(200, body=json.dumps(pages).encode())))
    key = "team-" + "k" * 40
    budget = {"usd": 1, "per": "month", "unpriced": "refuse"}
    settings = {"ledger": LEDGER, "client_keys": [{"name": "team", "key": key, "budget": budget}]}
    given = entry(above, info={"id": "one", "mode": "ocr"}, model="mistral/unheard-of-ocr")
    body = json.dumps({"model": "mistral-ocr", "document": INLINE}).encode()
    sent = request(body).replace(b"Host: x", b"Host: localhost\r\nAuthorization: Bearer " + key.encode(), 1)
    async with ocr_upstreams(above), serving(tmp_path, given, **settings) as running:
        assert 200 == (await ask(running.port, sent))[0]
        await running.logs(1)
        status, fields, text = await ask(running.port, sent)
        assert (429, "budget_unpriced") == (status, fields.get("x-passthrough-error"))
        assert b"unheard-of" in text
        assert b"127.0.0.1" not in text
        given["model_info"]["ocr_cost_per_page"] = 0.001
        (tmp_path / "routes.yaml").write_text(json.dumps({"model_list": [given], **settings}))
        await running.says("Reloaded")
        assert 200 == (await ask(running.port, sent))[0]
