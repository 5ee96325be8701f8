"""A month of traffic: what the ledger, the report, the metrics, the dashboard and the export say of it is what its maker says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from passthrough.exchange import Outcome
from tests.harness.client import asking, client
from tests.harness.cross_checks import (
    ALL,
    TIMELESS,
    check_command,
    check_dashboard,
    check_edges,
    check_export,
    check_ledger,
    check_metrics,
    check_statement,
)
from tests.harness.expected_bills import HOUSE_PRICES, ROADS, Deed
from tests.harness.month import admin, replayed
from tests.harness.process import Program, program
from tests.harness.traffic import CLIENTS, Traffic
from tests.harness.upstream import Peer, upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.process

LANES = 8


async def test_a_month_through_the_books(ledger_url: str, tmp_path: Path) -> None:
    """All kinds of answers over thirty days with price changes, and a restart: everybody tells the same, to the nano-dollar."""
    traffic = Traffic(4000)
    metrics, metered = await replayed(traffic, ledger_url, tmp_path)
    assert metered > 100
    tally = traffic.tally
    check_ledger(tally, ledger_url)
    await check_statement(tally, tmp_path, "--ledger", ledger_url)
    await check_command(tally, tmp_path, "--ledger", ledger_url, groupings=(("client", "model", "day"),))
    async with admin(ledger_url, metrics) as ask:
        await check_dashboard(tally, ask, ALL)
        await check_edges(tally, ask)
        await check_metrics(tally, ask)
    await check_export(tally, tmp_path, "--ledger", ledger_url)


def key_of(name: str | None) -> str:
    """Return a client's key; a stranger's for nobody."""
    return f"pt-key-{CLIENTS.index(name) if name else 'unknown'}-of-some-length"


def configured(port: int) -> str:
    """Return a configuration with all routes to a port of loopback."""
    stanzas = [
        f"""
  - path: {road.path}
    target: http://127.0.0.1:{1 if road.path == "/unreachable" else port}{road.path}
    include_subpath: true
    forward_headers: true
    headers: {{Authorization: Bearer upstream}}
    {road.stanza}"""
        for road in ROADS.values()
    ]
    keys = [f"\n  - {{name: {name}, key: {key_of(name)}}}" for name in CLIENTS]
    return f"""
pass_through_endpoints:{"".join(stanzas)}
client_keys:{"".join(keys)}
label_headers: [x-user, {{name: x-team, as: team}}]
{HOUSE_PRICES}"""


class Street:
    """The targets of all deeds, and the clients that ask for them."""

    def __init__(self, deeds: list[Deed]) -> None:
        self._deeds = {deed.number: deed for deed in deeds}
        self._arrived = {deed.number: asyncio.Event() for deed in deeds if deed.outcome == Outcome.CLIENT_GONE}
        self._left = {number: asyncio.Event() for number in self._arrived}

    async def answer(self, peer: Peer) -> None:
        """Answer as the deeds say: whole, broken off, when the client has left, or never."""
        while True:
            received = await peer.request()
            deed = self._deeds[int(received.values(b"x-deed")[0])]
            if deed.number in self._arrived:
                self._arrived[deed.number].set()
                await self._left[deed.number].wait()
            if deed.status is None and not deed.answer:
                await peer.ended()
                return
            lines = [b"HTTP/1.1 %d Said" % (deed.status or 200), b"Content-Type: " + deed.content_type.encode()]
            if deed.told is not None:
                lines.append(b"x-aimlapi-usd-spent: " + deed.told.encode())
            if deed.sandbox:
                lines.append(b"x-passthrough-sandbox: true")
            lines.append(b"Content-Length: %d" % len(deed.answer))
            await peer.send(b"\r\n".join(lines) + b"\r\n\r\n" + deed.answer[: deed.cut])
            if deed.cut is not None:
                return

    async def ask(self, running: Program, deeds: Iterator[Deed]) -> None:
        """Ask for deeds, one after the other; what comes back is what was sent."""
        for deed in deeds:
            fields = [f"Authorization: Bearer {key_of(deed.client)}".encode(), b"x-deed: %d" % deed.number, b"Connection: close"]
            if deed.label is not None:
                fields.append(b"x-user: " + deed.label.encode())
            if deed.team is not None:
                fields.append(b"x-team: " + deed.team.encode())
            async with client(running.port) as raw:
                line = f"{deed.method} {deed.path} HTTP/1.1".encode()
                await raw.send(asking(line, *fields, body=deed.request if deed.method == "POST" else None))
                if deed.number in self._arrived:
                    await self._arrived[deed.number].wait()
                    raw.reset()
                    self._left[deed.number].set()
                    continue
                head = await raw.head()
                assert deed.status == int(head[9:12]), deed
                if deed.outcome == Outcome.COMPLETED:
                    assert deed.answer == await raw.reader.readexactly(len(deed.answer))
                else:
                    await raw.broken()


@pytest.mark.wire
async def test_traffic_through_the_program(tmp_path: Path) -> None:
    """The same kinds over sockets, through the program as its user starts it: everybody tells what the clients got."""
    traffic = Traffic(1500, at=time.time())
    deeds = list(traffic.deeds())
    street, tally = Street(deeds), traffic.tally
    batches = [deed for deed in deeds if deed.method == "GET"]
    others = iter([deed for deed in deeds if deed.method != "GET"])
    async with upstream(street.answer) as raw, program(tmp_path, configured(raw.port)) as running:

        async def one_by_one() -> None:
            for number, deed in enumerate(batches, 1):  # who brings a line first is charged for it
                await street.ask(running, iter([deed]))
                async with running.news:
                    await running.news.wait_for(lambda: sum(line["method"] == "GET" for line in running.log) >= number)  # noqa: B023 - awaited at once

        async with asyncio.timeout(120):
            await asyncio.gather(one_by_one(), *(street.ask(running, others) for _ in range(LANES)))
        await running.logs(len(deeds))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.admin_port}") as session:

            async def ask(path: str) -> str:
                async with session.get(path) as answer:
                    assert 200 == answer.status
                    return await answer.text()

            await eventually(lambda: ask("/metrics"), lambda text: "\npassthrough_ledger_waiting_entries 0.0\n" in text)
            await check_dashboard(tally, ask, TIMELESS)
            await check_metrics(tally, ask)
        await check_command(tally, tmp_path, groupings=(("client", "model"),))
        assert 0 == await running.stop()
    await check_export(tally, tmp_path, names=("client", "model", "label", "sandbox"))
