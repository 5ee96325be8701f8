"""Requests to endpoints with several targets, over raw sockets: which target gets which bytes, and what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.deployments.deployment import Routing
from passthrough.proxy.deployments.pool import Pool
from passthrough.proxy.routes import Retries
from tests.harness.client import asking, client
from tests.harness.ports import free_port
from tests.harness.proxy import Road, pool_of, road, target_to
from tests.harness.upstream import Peer, RawUpstream, Received, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

BUSY = ok(b"busy", status=b"429 Too Many Requests")
RETRIES = Retries(attempts=2, max_wait_s=0.02)
ROUTING = Routing(num_retries=2, statuses=RETRIES.statuses | {401, 403}, max_wait_s=0.02)
FIELDS = (b"Authorization: Bearer client-key", b"x-odd: \xff kept")
KEYS = [ClientKey(f"caller-{number}", sha256(b"key-%d" % number).digest()) for number in range(64)]


@dataclass
class Account:
    """One account: what it answers is its name, or what `mood` says next; it refuses connections while it is `down`."""

    name: str
    moods: list[bytes] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    _raw: RawUpstream = field(init=False)

    def __post_init__(self) -> None:
        self._raw = RawUpstream(self._serve)

    async def _serve(self, peer: Peer) -> None:
        while True:
            self.received.append(await peer.request())
            await peer.send(self.moods.pop(0) if self.moods else ok(self.name.encode()))

    async def open(self) -> None:
        """Accept connections."""
        await self._raw.start(self.port)

    async def kill(self) -> None:
        """Refuse connections, and end those that are there."""
        await self._raw.close()

    @property
    def paths(self) -> list[bytes]:
        """The request targets that came."""
        return [each.line.split()[1] for each in self.received]


@asynccontextmanager
async def pooled(
    *accounts: Account, sticky: bool | None = None, routing: Routing = Routing(statuses=frozenset()), **settings: Any
) -> AsyncIterator[tuple[Road, Pool]]:
    """Run a road to accounts; `settings` are of the endpoint. Nothing is left under way at the end."""
    of = {name: settings.pop(name) for name in ("clients", "file_users", "allowance") if name in settings}
    weights = settings.pop("weights", [1.0] * len(accounts))
    targets = [
        target_to(each.port, each.name, auth="clients" in of, weight=weight, **settings)
        for each, weight in zip(accounts, weights, strict=True)
    ]
    pool = pool_of(*targets, sticky=sticky, routing=routing)
    async with AsyncExitStack() as stack:
        for each in accounts:
            await each.open()
            stack.push_async_callback(each.kill)
        house = await stack.enter_async_context(road(pools=(pool,), **of))
        yield house, pool
        await house.quiet()
        await until(lambda: not any(house.relay.ocr.balancer.under_way(each) for each in targets))


def home_of(pool: Pool, accounts: list[Account], client: str = "") -> list[Account]:
    """Return accounts in the order in which a client goes to them."""
    return [next(each for each in accounts if each.name == target.id) for target in pool.ranked(client)]


async def asked(house: Road, request: bytes) -> tuple[bytes, bytes]:
    """Send a request on a connection of its own, and return the response."""
    async with client(house.port) as raw:
        await raw.send(request)
        return await raw.answer()


async def test_bytes_cross_unchanged() -> None:
    """Path, query, fields and body; the target's own key is added, and nothing is added to its response."""
    accounts = [Account("a"), Account("b")]
    body = bytes(range(256)) * 9
    async with pooled(*accounts, base=b"/v1") as (house, pool):
        home, other = home_of(pool, accounts)
        head, answer = await asked(house, asking(b"PUT /m/%7Ex/y?q=1&q=2 HTTP/1.1", *FIELDS, body=body))
        assert ([], [b"/v1/%7Ex/y?q=1&q=2"]) == (other.paths, home.paths)
        (received,) = home.received
        assert (body, [b"\xff kept"]) == (received.body, received.values(b"x-odd"))
        assert [f"Bearer key-of-{home.name}".encode()] == received.values(b"authorization")
        assert home.name.encode() == answer
        assert [b"Content-Length", b"Date"] == sorted(line.partition(b":")[0] for line in head.split(b"\r\n")[1:-2])
        (exchange,) = await house.booked()
        assert (home.name, f"127.0.0.1:{home.port}", "/m", None, 1, len(body), None, Outcome.COMPLETED) == (
            exchange.deployment,
            exchange.target,
            exchange.terms.route if exchange.terms else None,
            exchange.model_group,
            exchange.attempts,
            exchange.bytes_up,
            exchange.why,
            exchange.outcome,
        )
