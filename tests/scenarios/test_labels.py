"""Named labels from the street: whoever asks, however the call ends, the ledger knows user and team."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.client import asking, client
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, RawUpstream, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

KEY = "invoices-" + "k" * 40
CONFIG = """client_keys: [{{name: invoices, key: {key}}}]
label_headers: [X-OpenWebUI-User-Email, {{name: X-Team, as: team}}, {{name: X-User, as: user, forward: false}}]
pass_through_endpoints:
  - {{path: /mistral, target: 'http://127.0.0.1:{port}', include_subpath: true, forward_headers: true}}
  - path: /own
    target: 'http://127.0.0.1:{port}'
    include_subpath: true
    forward_headers: true
    label_headers: [{{name: X-Team, as: cost-centre}}, {{name: X-Group, as: team}}]
  - {{path: /small, target: 'http://127.0.0.1:{port}', include_subpath: true, max_body: 1}}
"""
OCR = json.dumps({"model": "mistral-ocr-2512", "pages": [], "usage_info": {"pages_processed": 2}}).encode()
LINE = {"id": "batch-1", "custom_id": "a", "response": {"status_code": 200, "body": json.loads(OCR)}, "error": None}


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Program, RawUpstream, asyncio.Event]]:
    """Run the program in front of a provider; what is asked for as `slow` waits for the event."""
    goes_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            if b"/slow" in asked.line:
                await goes_on.wait()
            await peer.send(ok(json.dumps(LINE).encode() + b"\n" if b"/files/" in asked.line else OCR))

    async with upstream(script) as above, program(folder, CONFIG.format(key=KEY, port=above.port)) as started:
        yield started, above, goes_on


async def post(session: aiohttp.ClientSession, url: str, **labels: str) -> int:
    """Send an OCR request with label headers, and return the status."""
    async with session.post(url, data=b"{}", headers={f"X-{name}": value for name, value in labels.items()}) as answer:
        await answer.read()
        return answer.status


async def exchanges(started: Program, query: str, count: int) -> list[dict[str, Any]]:
    """Return the exchanges that the admin port finds, once there are so many."""

    async def found() -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{started.admin_port}/exchanges?{query}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert 200 == answer.status, await answer.text()
            return list((await answer.json())["exchanges"])

    return await eventually(found, lambda some: len(some) >= count)


def stored(folder: Path) -> dict[str, tuple[str | None, object]]:
    """Return each exchange's labels by its path, as the ledger has them."""
    with closing(sqlite3.connect(folder / "passthrough.db")) as database:
        found = database.execute("SELECT path, label, labels FROM exchanges").fetchall()
    return {path: (label, labels and json.loads(labels)) for path, label, labels in found}


async def test_every_end_of_a_call_keeps_its_labels(tmp_path: Path) -> None:
    """A response, a batch's file, a call that is read on without its client; a route's own entry counts for its header."""
    async with running(tmp_path) as (started, above, goes_on):
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            two = {"Team": "red", "User": "eve@example.test"}
            assert 200 == await post(session, started.url + "/mistral/v1/ocr", **two, **{"OpenWebUI-User-Email": "a@b.test"})
            assert 200 == await post(session, started.url + "/mistral/v2/ocr")
            assert 200 == await post(session, started.url + "/own/v1/ocr", **two, Group="blue")
            assert 413 == await post(session, started.url + "/small/v1/ocr", **two)
            url = started.url + "/mistral/v1/files/f/content"
            async with session.get(url, headers={"X-Team": 'r"ed\u202e', "X-User": "\u00e9"}) as answer:
                await answer.read()
        fields = (b"Authorization: Bearer " + KEY.encode(), b"X-Team: green")
        async with client(started.port) as raw:
            await raw.send(asking(b"POST /mistral/slow/v1/ocr HTTP/1.1", *fields, body=b"{}"))
            async with asyncio.timeout(30):
                while not any(b"/slow" in asked.line for asked in above.received):  # noqa: ASYNC110 - its script sets no event
                    await asyncio.sleep(0.01)
        goes_on.set()
        lines = await started.logs(6)
        red = await exchanges(started, "label.team=red", 1)
        assert {("/mistral/v1/ocr", "a@b.test", 2)} == {(each["path"], each["label"], each["pages"]) for each in red}
        assert {"/mistral/v2/ocr"} == {each["path"] for each in await exchanges(started, "label.team=", 1)}
        assert 0 == await started.stop()
    told = {line["path"]: line["labels"] for line in lines}
    assert {"team": "red", "user": "eve@example.test"} == told["/mistral/v1/ocr"]
    assert {"cost-centre": "red", "team": "blue", "user": "eve@example.test"} == told["/own/v1/ocr"]
    assert {"team": "red", "user": "eve@example.test"} == told["/small/v1/ocr"]
    assert None is told["/mistral/v2/ocr"]
    assert ["client_gone"] == [line["outcome"] for line in lines if "/slow" in line["path"]]
    labels = {"team": "red", "user": "eve@example.test"}
    assert {
        "/mistral/v1/ocr": ("a@b.test", labels),
        "/mistral/v2/ocr": (None, None),
        "/own/v1/ocr": (None, {"cost-centre": "red", "team": "blue", "user": "eve@example.test"}),
        "/small/v1/ocr": (None, None),
        "/mistral/v1/files/f/content": (None, {"team": 'r"ed\\u202e', "user": "\u00e9"}),
        "/mistral/slow/v1/ocr": (None, {"team": "green"}),
    } == stored(tmp_path)
    code, out, err = await started.command("usage", "--by", "label.team", "--format", "json")
    assert (0, "") == (code, err)
    pages = {group["label.team"]: group["pages"] for group in json.loads(out)["groups"]}
    assert {None: 2, "blue": 2, "green": 2, 'r"ed\\u202e': 2, "red": 2} == pages
    assert 0 == (await started.command("usage", "--export", "all.csv"))[0]
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        exported = {row["path"]: json.loads(row["labels"] or "null") for row in csv.DictReader(file)}
    assert {path: labels for path, (_, labels) in stored(tmp_path).items()} == exported
    (month,) = (line["time"][:7] for line in lines if line["path"] == "/own/v1/ocr")
    code, out, err = await started.command("report", "--month", month, "--by", "label.cost-centre", "--format", "csv")
    assert (0, "") == (code, err)
    rows = [row for row in csv.DictReader(io.StringIO(out)) if row["row"] == "model"]
    assert [("red", "2")] == [(row["label.cost-centre"], row["pages"]) for row in rows if row["label.cost-centre"]]
    went_up = above.received[0]
    assert ([b"red"], []) == (went_up.values(b"x-team"), went_up.values(b"x-user"))
