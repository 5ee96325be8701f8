"""A month of traffic, replayed through the real books, and what they then say.

`python -m tests.harness.month [COUNT]` does it at full size.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from aiohttp.test_utils import TestClient, TestServer

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.bookkeeper import Bookkeeper
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.prices import Prices, shipped
from passthrough.admin.app import AdminView, app
from passthrough.admin.health import Health, Phase
from passthrough.admin.metrics import Metrics
from passthrough.config.load import load_prices
from passthrough.exchange import Exchange, RouteTerms, new_id
from passthrough.meter.buffered import BufferedMeter
from passthrough.meter.cost_header import reported_nano
from passthrough.meter.meter import Meter, ResponseFacts, open_meter
from passthrough.meter.request import open_request_meter
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.cross_checks import (
    ALL,
    Ask,
    check_command,
    check_dashboard,
    check_edges,
    check_export,
    check_ledger,
    check_metrics,
    check_statement,
)
from tests.harness.entries import Read
from tests.harness.expected_bills import FLAT_NANO, HOUSE_PRICES, Deed
from tests.harness.postgres import Postgres, programs
from tests.harness.traffic import Traffic

_WAITING: Final = 3000
_GROUP: Final = 500
_REAL: Final = 20
"""One answer in so many passes the real meter, byte for byte; what is to be found in the others is given to the books."""


# ── the replay ──


class Replay:
    """Hands deeds to the real bookkeeper as the road would, at their own times."""

    def __init__(self, keeper: Bookkeeper) -> None:
        self.keeper = keeper
        self.metered = 0
        self._decoders = ThreadPoolExecutor(1)

    async def do(self, deed: Deed) -> None:
        """Hand over one."""
        exchange = _exchange(deed)
        if deed.number % _REAL == 0 and deed.answer and deed.client is not None:
            exchange.usage_source = await self._read(deed, exchange)
        else:
            for start in range(0, len(deed.lines), _GROUP):
                self.keeper.passed(exchange, deed.lines[start : start + _GROUP])
            exchange.usage_source = Read(deed.usage)
        self.keeper.done(exchange)
        if deed.number % 100 == 0:
            await asyncio.sleep(0)
            while self.keeper.waiting > _WAITING:  # noqa: ASYNC110 - what it waits for is done by threads, which set no event
                await asyncio.sleep(0.005)

    def close(self) -> None:
        """End the decoders."""
        self._decoders.shutdown()

    async def _read(self, deed: Deed, exchange: Exchange) -> Meter | BufferedMeter | Read:
        """Let the real meter read the real bytes, and see that it finds what is in them."""
        lines: list[Usage] = []

        def passed(found: tuple[Usage, ...]) -> None:
            lines.extend(found)
            self.keeper.passed(exchange, found)

        plan, path = deed.road.plan, deed.path.encode()
        request_meter = open_request_meter(None, self._decoders) if plan.reads(deed.method, path) else None
        if request_meter is not None:
            request_meter.feed(deed.request)
        answered = ResponseFacts(deed.method, path, deed.status or 200, None, deed.content_type.encode())
        meter = open_meter(plan, answered, self._decoders, request_meter=request_meter, passed=passed)
        if meter is None:
            return Read(deed.usage)
        body = deed.answer[: deed.cut]
        for start in range(0, len(body), 700):
            if not meter.feed(body[start : start + 700]):
                await meter.drained()
        meter.end(None if deed.cut is None else Unmetered.BROKEN)
        found = replace(await meter.usage(), doc_bytes=None)
        assert deed.usage == found, (deed.number, deed.answer[:500], deed.usage, found)
        assert list(deed.lines) == [replace(line, doc_bytes=None) for line in lines], deed.number
        self.metered += 1
        return meter


def _exchange(deed: Deed) -> Exchange:
    road = deed.road
    made = Exchange(id=new_id(deed.at), began_utc=deed.at, began=time.monotonic(), method=deed.method, path=deed.path)
    made.terms = RouteTerms(road.path, road.plan, FLAT_NANO if road.flat else None, road.account)
    made.admitted = deed.client is not None
    made.client, made.label, made.target, made.sandbox = deed.client, deed.label, road.host, deed.sandbox
    made.labels = () if deed.team is None else (("team", deed.team),)
    made.status, made.outcome, made.error, made.attempts = deed.status, deed.outcome, deed.error, 1
    made.bytes_up, made.bytes_down = len(deed.request), len(deed.answer)
    made.first_byte_s = made.total_s = 0.5
    if road.plan.cost_headers and deed.told is not None:
        made.reported_cost_nano = reported_nano(deed.told.encode())
        made.cost_header = road.plan.cost_headers[0].decode() if made.reported_cost_nano is not None else None
    return made


async def replayed(traffic: Traffic, url: str, folder: Path) -> tuple[Metrics, int]:
    """Book all of it, with a restart after the first half; return what the metrics count, and how many answers were metered."""
    metrics, metered, said = Metrics(), 0, list[str]()
    (folder / "routes.yaml").write_text(HOUSE_PRICES)
    prices = Prices(load_prices(str(folder / "routes.yaml"), {}), shipped())
    deeds = traffic.deeds()
    for share in (traffic.count // 2, traffic.count):
        with closing(Ledger.open(url)) as ledger, (folder / "log").open("a", encoding="utf-8") as log:
            keeper = Bookkeeper(
                prices=prices,
                ledger=ledger,
                journal=folder / "journal",
                access_log=AccessLog(log),
                warn=said.append,
                observers=(metrics,),
            )
            await keeper.start()
            replay = Replay(keeper)
            for deed in deeds:
                await replay.do(deed)
                if deed.number + 1 == share:
                    break
            await keeper.close(300)
            replay.close()
            metered += replay.metered
            assert (0, 0) == (keeper.waiting, keeper.lost), said
    expected = ("No price is known", "What was reported is booked.", "is a sandbox of passthrough")
    assert [line for line in said if not any(words in line for words in expected)] == []
    return metrics, metered


@asynccontextmanager
async def admin(url: str, metrics: Metrics) -> AsyncIterator[Ask]:
    """Serve the admin port's application on a socket, over a ledger and metrics."""
    with closing(Ledger.open(url, read_only=True)) as ledger:
        shown = AdminView(Health({}, Phase.READY), ledger, lambda: [metrics.families()], lambda: (), lambda: None)
        async with TestClient(TestServer(app(shown, on_loopback=True))) as client:

            async def get(path: str) -> str:
                async with client.get(path) as answer:
                    assert 200 == answer.status, await answer.text()
                    return await answer.text()

            yield get


# ── at full size ──


async def _whole(count: int, url: str, folder: Path) -> None:
    traffic, start = Traffic(count), time.monotonic()
    metrics, metered = await replayed(traffic, url, folder)
    booked_s, tally = time.monotonic() - start, traffic.tally
    check_ledger(tally, url)
    await check_command(tally, folder, "--ledger", url, groupings=ALL)
    await check_statement(tally, folder, "--ledger", url)
    async with admin(url, metrics) as ask:
        await check_dashboard(tally, ask)
        await check_edges(tally, ask)
        await check_metrics(tally, ask)
    rows = await check_export(tally, folder, "--ledger", url)
    ((requests, pages, annotated, nano, unmetered, unpriced, *_),) = tally.by().values()
    cost, seconds = Decimal(nano) / 10**9, time.monotonic() - start - booked_s
    said = (
        f"{url.partition(':')[0]}: {requests} exchanges, {tally.refused} refused, {metered} answers read by the real meter",
        f"{len(tally.lines)} lines of batches, {pages} pages and {annotated} annotated, {cost} USD",
        f"{unmetered} unmetered, {unpriced} unpriced, {rows} rows exported",
        f"all agree; replayed in {booked_s:.1f} s, compared in {seconds:.1f} s\n",
    )
    sys.stdout.write("; ".join(said))
    sys.stdout.flush()


def main() -> None:
    """Replay as many as the command line says, into SQLite and, where there is one, into PostgreSQL."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_whole(count, f"sqlite:///{folder}/books.db", Path(folder)))
    found = programs()
    if found is None:
        return
    server = Postgres(found)
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_whole(count, server.create("books"), Path(folder)))
    finally:
        server.end()


if __name__ == "__main__":
    main()
