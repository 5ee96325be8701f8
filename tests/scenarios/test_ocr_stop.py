"""Requests to `/v1/ocr` that are under way when the program is stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.ocr_client import request
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
