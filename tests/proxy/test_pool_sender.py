"""Requests to endpoints with several targets, over raw sockets: which target gets which bytes, and what comes back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import pytest

from passthrough.credentials.identity import GoogleIdentity
from passthrough.credentials.token_sources import TokenSources
from passthrough.errors import Refusal
from passthrough.exchange import Exchange, Outcome, RouteTerms
from passthrough.meter.plan import MeterPlan
from passthrough.proxy.auth import Authenticator, ClientKey
from passthrough.proxy.deployments.deployment import Routing
from passthrough.proxy.deployments.file_users import FileUsers
from passthrough.proxy.deployments.pool import Pool
from passthrough.proxy.relay import Rules
from passthrough.proxy.routes import Retries, RouteTable, Timeouts
from tests.harness.client import RawClient, asking, client
from tests.harness.issuer import IDENTITY, Issuer, sources_of
from tests.harness.ports import free_port
from tests.harness.proxy import Road, pool_of, road, target_to
from tests.harness.upstream import Peer, RawUpstream, Received, chunk, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

DONE = ok(b'{"model":"mistral-ocr-4-1","usage_info":{"pages_processed":3}}')
BUSY = ok(b"busy", status=b"429 Too Many Requests")
FAILS = ok(b"fails", status=b"500 Internal Server Error")
REJECTED = ok(b"rejected", status=b"401 Unauthorized")
HELD = Retries(attempts=2, max_wait_s=0.02)
ROUTING = Routing(num_retries=2, statuses=HELD.statuses | {401, 403}, max_wait_s=0.02)
TRIED: dict[str, Any] = {"retries": HELD, "routing": ROUTING}
"""An endpoint with `retries`."""

OCR, FILE = b"POST /m/v1/ocr HTTP/1.1", b"GET /m/v1/files/7/url HTTP/1.1"
KEYS = [ClientKey(f"caller-{number}", sha256(b"key-%d" % number).digest()) for number in range(64)]


@dataclass
class Account:
    """One account: what it answers is its name, or what is in `moods` next; it records all that came."""

    name: str
    moods: list[bytes] = field(default_factory=list)
    always: bytes | None = None
    port: int = field(default_factory=free_port)
    raw: RawUpstream = field(init=False)
    keeps: bool = True

    def __post_init__(self) -> None:
        self.raw = RawUpstream(self._serve)

    async def _serve(self, peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(self.moods.pop(0) if self.moods else self.always or ok(self.name.encode()))
            if not self.keeps:
                return

    async def open(self) -> None:
        """Accept connections."""
        await self.raw.start(self.port)

    async def kill(self) -> None:
        """Refuse connections, and end those that are there."""
        await self.raw.close()

    @property
    def received(self) -> list[Received]:
        """What came whole."""
        return self.raw.received

    @property
    def paths(self) -> list[bytes]:
        """The request targets that came."""
        return [each.line.split()[1] for each in self.received]


@dataclass
class Pooled:
    """A road to accounts; `ranked` are the accounts in the order of a client without a key."""

    house: Road
    pool: Pool
    accounts: tuple[Account, ...]

    def ranked(self, client: str = "") -> list[Account]:
        """Return the accounts in the order in which a client goes to them."""
        return [next(each for each in self.accounts if each.name == target.id) for target in self.pool.ranked(client)]

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Send a request on a connection of its own, and return its status and body."""
        async with client(self.house.port) as raw:
            await raw.send(request)
            head, body = await raw.answer()
            return head[9:12], body

    def adopt(self, own: dict[str, dict[str, Any]], tokens: TokenSources | None = None) -> None:
        """Put other targets in force: `own` are settings of their routes, by their ids."""
        targets = [replace(each, route=replace(each.route, **own.get(each.id, {}))) for each in self.pool.deployments]
        pool = pool_of(*targets, sticky=self.pool.sticky, routing=self.pool.table.routing)
        self.house.relay.rules = Rules(RouteTable([pool.route]), Authenticator(()), pools=(pool,), tokens=tokens)

    @property
    def cooling(self) -> set[tuple[str, str]]:
        """Which targets cool down, and why."""
        return {(name, reason) for name, reason, _ in self.house.relay.ocr.balancer.cooling()}


@asynccontextmanager
async def pooled(
    accounts: int | tuple[Account, ...] = 2,
    *,
    sticky: bool | None = None,
    routing: Routing = Routing(statuses=frozenset()),
    weights: tuple[float, ...] = (),
    is_open: bool = True,
    **settings: Any,
) -> AsyncIterator[Pooled]:
    """Run a road to accounts (a number: so many); `settings` are of the endpoint. Nothing is left under way at the end."""
    made = tuple(Account(f"account-{number}") for number in range(accounts)) if isinstance(accounts, int) else accounts
    of = {name: settings.pop(name) for name in ("clients", "file_users", "allowance", "tokens") if name in settings}
    weighted = zip(made, weights or [1.0] * len(made), strict=True)
    targets = [target_to(each.port, each.name, auth="clients" in of, weight=weight, **settings) for each, weight in weighted]
    pool = pool_of(*targets, sticky=sticky, routing=routing)
    async with AsyncExitStack() as stack:
        for each in made:
            if is_open:
                await each.open()
                stack.push_async_callback(each.kill)
        house = await stack.enter_async_context(road(pools=(pool,), **of))
        yield Pooled(house, pool, made)
        await house.quiet()
        await until(lambda: not any(house.relay.ocr.balancer.under_way(each) for each in targets))


# ── the bytes ──


async def test_bytes_cross_unchanged() -> None:
    """Path, query, fields and body; the target's own key is added, and nothing is added to its response."""
    body = bytes(range(256)) * 9
    async with pooled(base=b"/v1") as on:
        home, other = on.ranked()
        async with client(on.house.port) as raw:
            request = asking(b"PUT /m/%7Ex/y?q=1&q=2 HTTP/1.1", b"Authorization: Bearer mine", b"x-odd: \xff kept", body=body)
            await raw.send(request)
            head, answer = await raw.answer()
        assert ([], [b"/v1/%7Ex/y?q=1&q=2"]) == (other.paths, home.paths)
        (received,) = home.received
        assert (body, [b"\xff kept"]) == (received.body, received.values(b"x-odd"))
        assert [f"Bearer key-of-{home.name}".encode()] == received.values(b"authorization")
        assert home.name.encode() == answer
        assert [b"Content-Length", b"Date"] == sorted(line.partition(b":")[0] for line in head.split(b"\r\n")[1:-2])
        (exchange,) = await on.house.booked()
        assert exchange.terms is not None
        assert (home.name, f"127.0.0.1:{home.port}", "/m", None) == (
            exchange.deployment,
            exchange.target,
            exchange.terms.route,
            exchange.model_group,
        )
        assert (1, len(body), None, Outcome.COMPLETED) == (exchange.attempts, exchange.bytes_up, exchange.why, exchange.outcome)


@pytest.mark.parametrize("settings", [{}, TRIED])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_bodies_of_all_sizes_reach_the_next_target_unchanged(size: int, chunked: bool, settings: dict[str, Any]) -> None:
    """Where the first refuses connections: nothing of the body was taken, so that it need not be held."""
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    framed = [body[at : at + 50_000] for at in range(0, size, 50_000)] or [b""]
    async with pooled(**settings) as on:
        home, other = on.ranked()
        await home.kill()
        async with client(on.house.port) as raw:
            if chunked:
                await raw.send(asking(b"POST /m/v1/x HTTP/1.1", b"Transfer-Encoding: chunked"))
                await raw.send(*(chunk(piece) for piece in framed if piece), chunk(b""))
            else:
                await raw.send(asking(b"POST /m/v1/x HTTP/1.1", b"Content-Length: %d" % size), *framed)
            head, answer = await raw.answer()
        assert (b"200", other.name.encode()) == (head[9:12], answer)
        (received,) = other.received
        assert body == received.body
        (exchange,) = await on.house.booked()
        assert (other.name, 2, size, f"{home.name}: connection refused") == (
            exchange.deployment,
            exchange.attempts,
            exchange.bytes_up,
            exchange.why,
        )
        assert {(home.name, "connect")} == on.cooling


async def test_a_body_is_invited_once() -> None:
    """`Expect: 100-continue` of a request whose first target refuses connections."""
    async with pooled() as on:
        home, other = on.ranked()
        await home.kill()
        async with client(on.house.port) as raw:
            await raw.send(asking(b"POST /m/v1/x HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 5"))
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == await raw.head()
            await raw.send(b"hello")
            head, answer = await raw.answer()
        assert (b"200", other.name.encode()) == (head[9:12], answer)
        assert [b"hello"] == [each.body for each in other.received]
        assert [] == other.received[0].values(b"expect")


async def test_one_connection_has_requests_for_many_targets_and_lengths() -> None:
    """What is kept of heads never mixes two lengths, two targets or two paths; long heads are not kept."""
    async with pooled(3, sticky=False) as on, client(on.house.port) as raw:
        sizes = [3, 5, 3, 0, 12, 7, 3, 11, 5, 1234] * 6
        for number, size in enumerate(sizes):
            more = b"x-long: " + b"y" * (2000 if number % 3 == 0 else 1)
            await raw.send(asking(b"POST /m/%d HTTP/1.1" % (number // 4), more, body=b"z" * size))
            assert b"200" == (await raw.answer())[0][9:12]
        received = [each for account in on.accounts for each in account.received]
        assert sorted(sizes) == sorted(len(each.body) for each in received)
        assert all(
            each.values(b"authorization") == [b"Bearer key-of-%b" % account.name.encode()]
            for account in on.accounts
            for each in account.received
        )
        assert 3 == sum(bool(account.received) for account in on.accounts)


@pytest.mark.parametrize("dies", [False, True])
async def test_each_target_is_metered_by_its_own_terms(dies: bool) -> None:
    """Also where the request went to another one first: what it asks for is read for the target that is metered."""
    async with pooled(sticky=False, **TRIED) as on:
        plain, counted = on.accounts
        plain.always, counted.always = FAILS, ok(b'{"usage_info":{"pages_processed":3}}')
        plans = {plain.name: MeterPlan("none"), counted.name: MeterPlan("ocr")}
        on.adopt({name: {"terms": RouteTerms("/m", plan)} for name, plan in plans.items()})
        if dies:
            await plain.kill()
        for number in range(40):
            await on.ask(asking(OCR, body=b'{"model":"asked-for"}'))
            exchange = (await on.house.booked(number + 1))[-1]
            if exchange.attempts > 1:
                break
        usage = await exchange.usage_source.usage()
        assert (2, counted.name, 3, "asked-for") == (exchange.attempts, exchange.deployment, usage.pages, usage.model)


# ── which target ──


async def test_a_client_stays_at_home() -> None:
    """Everything but single OCR calls, on any connection; those go anywhere while the client uses no files."""
    async with pooled(3, clients=KEYS) as on:
        for number in range(12):
            home = on.ranked(f"caller-{number}")[0]
            key = b"Authorization: Bearer key-%d" % number
            for line in (
                b"POST /m/v1/batch/jobs HTTP/1.1",
                b"GET /m/v1/models HTTP/1.1",
                b"POST /m/v1/chat/completions HTTP/1.1",
            ):
                assert home.name.encode() == (await on.ask(asking(line, key, body=b"{}")))[1]
        key = b"Authorization: Bearer key-7"
        assert 3 == len({(await on.ask(asking(OCR, key, body=b"{}")))[1] for _ in range(60)})
        await on.ask(asking(b"DELETE /m/v1/%66iles/3 HTTP/1.1", key))
        assert {on.ranked("caller-7")[0].name.encode()} == {(await on.ask(asking(OCR, key, body=b"{}")))[1] for _ in range(40)}
        other = b"Authorization: Bearer key-8"
        assert 3 == len({(await on.ask(asking(OCR, other, body=b"{}")))[1] for _ in range(60)})


@pytest.mark.parametrize("sticky", [True, False])
async def test_sticky_says_otherwise(sticky: bool) -> None:
    """True: single OCR calls stay, too. False: files go anywhere, and nothing is noted."""
    users = FileUsers()
    async with pooled(3, sticky=sticky, file_users=users) as on:
        for line in (OCR, FILE):
            answers = {(await on.ask(asking(line)))[1] for _ in range(60)}
            assert ({on.ranked()[0].name.encode()} if sticky else {each.name.encode() for each in on.accounts}) == answers
        assert not users.uses("/m", "")


async def test_single_calls_are_shared_by_weight() -> None:
    """3 : 2 : 1 of 600 calls, within five standard deviations: not one run of a million fails. Then around one that throttles."""
    async with pooled(3, weights=(3.0, 2.0, 1.0)) as on, client(on.house.port) as raw:

        async def shares(calls: int) -> list[int]:
            before = [len(each.received) for each in on.accounts]
            for _ in range(calls):
                await raw.send(asking(OCR, body=b"{}"))
                await raw.answer()
            return [len(each.received) - known for each, known in zip(on.accounts, before, strict=True)]

        random.seed(16)
        for got, share in zip(await shares(600), (3 / 6, 2 / 6, 1 / 6), strict=True):
            assert abs(got - 600 * share) < 5 * (600 * share * (1 - share)) ** 0.5
        on.accounts[0].always = ok(b"busy", b"Retry-After: 600", status=b"429 Too Many Requests")
        first, *others = await shares(300)
        assert 1 == first
        assert abs(others[0] - 299 * 2 / 3) < 5 * (299 * 2 / 9) ** 0.5
        assert {("account-0", "429")} == on.cooling


async def test_the_home_is_kept_while_it_throttles() -> None:
    """Without `retries` each 429 is relayed as it is; single calls go around it meanwhile."""
    async with pooled() as on:
        home, other = on.ranked()
        home.always = BUSY
        for _ in range(3):
            assert (b"429", b"busy") == await on.ask(asking(b"GET /m/v1/models HTTP/1.1"))
        assert {(home.name, "429")} == on.cooling
        assert {other.name.encode()} == {(await on.ask(asking(OCR, body=b"{}")))[1] for _ in range(20)}
        exchanges = await on.house.booked(23)
        assert [f"{home.name}: 429"] * 3 == [each.why for each in exchanges[:3]]
        assert {1} == {each.attempts for each in exchanges}


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"403 Forbidden"])
async def test_what_a_client_may_not_read_costs_others_no_ocr(status: bytes) -> None:
    """An account with the least rights rejects all but OCR calls: who lists its models, again and again, is no reason."""
    async with pooled(clients=KEYS) as on:
        for each in on.accounts:
            each.moods = [ok(b"no right", status=status)] * 6
        homes = {on.ranked(f"caller-{number}")[0].name: number for number in range(64)}
        assert 2 == len(homes)
        for number in [*homes.values()] * 6:
            line = b"GET /m/v1/models HTTP/1.1"
            assert (status[:3], b"no right") == await on.ask(asking(line, b"Authorization: Bearer key-%d" % number))
        for each in on.accounts:
            assert [] == each.moods
        answers = {(await on.ask(asking(OCR, b"Authorization: Bearer key-0", body=b"{}")))[1] for _ in range(40)}
        assert {each.name.encode() for each in on.accounts} == answers
        assert {6} == {on.house.relay.ocr.balancer.tries[each.name, status[:3].decode()] for each in on.accounts}
        on.accounts[0].always = ok(b"no right", status=status)
        while b"200" == (await on.ask(asking(OCR, b"Authorization: Bearer key-0", body=b"{}")))[0]:
            pass
        assert {("account-0", status[:3].decode())} == on.cooling


async def test_who_has_no_key_is_one_client() -> None:
    """And two endpoints with one path and different methods are two pools, with one memory of who uses files."""
    accounts = tuple(Account(name) for name in "abc")
    targets = [target_to(each.port, each.name) for each in accounts]
    reads = pool_of(*(replace(each, route=replace(each.route, methods=frozenset({"GET"}))) for each in targets[:1]))
    writes = pool_of(*(replace(each, route=replace(each.route, methods=frozenset({"POST"}))) for each in targets[1:]))
    async with AsyncExitStack() as stack:
        for each in accounts:
            await each.open()
            stack.push_async_callback(each.kill)
        house = await stack.enter_async_context(road(pools=(reads, writes)))
        on = Pooled(house, writes, accounts)
        assert b"a" == (await on.ask(asking(FILE)))[1]
        assert {on.ranked()[0].name.encode()} == {(await on.ask(asking(OCR, body=b"{}")))[1] for _ in range(30)}


# ── tries ──


@pytest.mark.parametrize("mood", [BUSY, FAILS, REJECTED])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_free_call_goes_on_with_the_same_bytes(mood: bytes, chunked: bool) -> None:
    """With `retries`, whatever it failed by; the failed target is not asked again while there is another."""
    body = bytes(range(256)) * 400
    request = asking(OCR, b"Transfer-Encoding: chunked") + chunk(body[:7]) + chunk(body[7:]) + chunk(b"")
    async with pooled(3, **TRIED) as on:
        for each in on.accounts[:2]:
            each.always = mood
        while not all(each.received for each in on.accounts):  # which one is first is chance
            before = [len(each.received) for each in on.accounts]
            assert (b"200", b"account-2") == await on.ask(request if chunked else asking(OCR, body=body))
            assert {0, 1} >= {len(each.received) - known for each, known in zip(on.accounts, before, strict=True)}
            if len(on.house.exchanges) > 30:
                break
        assert {body} == {received.body for each in on.accounts for received in each.received}
        await until(lambda: not on.house.relay.active)
        for exchange in on.house.exchanges:
            assert (exchange.attempts == 1) == (exchange.why is None)
            assert len(body) == exchange.bytes_up


async def test_what_stays_is_sent_home_again_and_nowhere_else() -> None:
    """With `retries`, after a 429 or a 5xx, the same bytes; then the last response is relayed as it is."""
    async with pooled(**TRIED) as on:
        home, other = on.ranked()
        home.moods = [BUSY, FAILS]
        assert (b"200", home.name.encode()) == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"file" * 1000))
        home.moods = [BUSY, BUSY, FAILS]
        assert (b"500", b"fails") == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"file" * 1000))
        home.moods = [REJECTED]
        assert (b"401", b"rejected") == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"file" * 1000))
        assert {b"file" * 1000} == {each.body for each in home.received}
        assert (7, 0) == (len(home.received), len(other.received))
        exchanges = await on.house.booked(3)
        assert [3, 3, 1] == [each.attempts for each in exchanges]
        assert [f"{home.name}: 500", f"{home.name}: 500", f"{home.name}: 401"] == [each.why for each in exchanges]


@pytest.mark.parametrize(("held_bytes", "status", "why"), [(99, b"429", "; the body was not held"), (100, b"200", "")])
async def test_a_body_that_is_not_held_is_sent_once(held_bytes: int, status: bytes, why: str) -> None:
    """One that is larger than `max_body` of `retries`: the log says why there was no further try."""
    async with pooled(retries=replace(HELD, held_bytes=held_bytes), routing=ROUTING) as on:
        home, other = on.ranked()
        home.moods = [BUSY]
        assert status == (await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"x" * 100)))[0]
        assert f"{home.name}: 429{why}" == (await on.house.booked())[0].why
        assert [] == other.received


@pytest.mark.parametrize("size", [2, 3_000_000])
async def test_a_response_that_comes_before_the_body_is_relayed(size: int) -> None:
    """As on an endpoint with one target: the rest of the body has not come, so that the request cannot be sent again."""

    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.send(BUSY)
        await peer.ended()

    async with pooled(**TRIED) as on:
        home, other = on.ranked()
        home.raw.script = early
        async with client(on.house.port) as raw:
            await raw.send(asking(b"POST /m/v1/files HTTP/1.1", b"Content-Length: %d" % size), b"x")
            head, answer = await raw.answer()
        assert (b"429", b"busy") == (head[9:12], answer)
        assert [] == other.received


async def test_a_kept_connection_that_ended_is_no_account_that_died() -> None:
    """With `retries` the request goes home again, at once."""
    async with pooled(**TRIED) as on:
        home, other = on.ranked()
        home.keeps = False
        for number in range(6):
            assert (b"200", home.name.encode()) == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"%d" % number))
        assert [] == other.received


async def test_where_all_targets_are_throttled_their_own_responses_are_relayed() -> None:
    """A provider's 429 says more than one of ours: what all limits leave is asked for, as at an endpoint with one target."""
    routing = Routing(statuses=frozenset(), takes_cooling=True)
    async with pooled(routing=routing) as on:
        for each, wait_s in zip(on.accounts, (300, 600), strict=True):
            each.always = ok(each.name.encode(), b"Retry-After: %d" % wait_s, status=b"429 Too Many Requests")
        first = {await on.ask(asking(b"POST /m/v1/ocr HTTP/1.1", body=b"{}")) for _ in range(2)}
        assert {(b"429", each.name.encode()) for each in on.accounts} == first
        assert (b"429", b"account-0") == await on.ask(asking(b"POST /m/v1/ocr HTTP/1.1", body=b"{}"))  # It is free first.
        on.accounts[0].always = None
        assert (b"200", b"account-0") == await on.ask(asking(b"POST /m/v1/ocr HTTP/1.1", body=b"{}"))


async def test_failures_name_the_target_by_its_id() -> None:
    """Not by its address: an account's host is the operator's own affair. Where there is another target, none is tried twice."""
    async with pooled(is_open=False) as on:
        home, other = on.ranked()
        status, body = await on.ask(asking(b"GET /m/v1/models HTTP/1.1"))
        assert (b"502", True, False) == (status, f"deployment {other.name}".encode() in body, b"127.0.0.1" in body)
        status, body = await on.ask(asking(b"GET /m/v1/models HTTP/1.1"))
        assert (b"502", True) == (status, b"No target of this endpoint could be reached just now." in body)
        first, second = await on.house.booked(2)
        assert ("upstream_unreachable", 2, f"{other.name}: connection refused") == (first.error, first.attempts, first.why)
        assert ("upstream_unreachable", 0, None, None) == (second.error, second.attempts, second.deployment, second.target)
        assert home.name != other.name


async def test_a_failure_behind_the_head_names_the_target_by_its_id() -> None:
    """A response that is malformed behind its head, before anything of it went to the client."""
    odd = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    async with pooled() as on:
        home = on.ranked()[0]
        home.moods = [odd]
        status, body = await on.ask(asking(b"GET /m/v1/models HTTP/1.1"))
        assert (b"502", b"bad_upstream_answer" in body) == (status, True)
        assert (True, False) == (f"deployment {home.name} sent".encode() in body, b"127.0.0.1" in body)


@pytest.mark.parametrize("settings", [{}, TRIED])
async def test_a_failed_upload_names_the_target_by_its_id(settings: dict[str, Any]) -> None:
    """Where the target breaks the connection while the body still comes, the upload fails, too."""
    broken = asyncio.Event()

    async def breaks(peer: Peer) -> None:
        await peer.head()
        peer.reset()
        broken.set()

    async with pooled(**settings) as on:
        home = on.ranked()[0]
        home.raw.script = breaks
        async with client(on.house.port) as raw:
            await raw.send(asking(b"POST /m/v1/files HTTP/1.1", b"Content-Length: 900000"), b"x")
            await broken.wait()
            await raw.send(b"x" * 899_999)
            head, body = await raw.answer()
        assert (b"502", b"upstream_broke" in body) == (head[9:12], True)
        assert (True, False) == (f"deployment {home.name} closed".encode() in body, b"127.0.0.1" in body)


@pytest.mark.parametrize(("line", "expected"), [(FILE, b"502"), (OCR, b"502")])
async def test_a_connection_that_breaks_is_not_tried_elsewhere(line: bytes, expected: bytes) -> None:
    """Without `retries`: something was sent."""

    async def breaks(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with pooled() as on:
        for each in on.accounts:
            each.raw.script = breaks
        assert expected == (await on.ask(asking(line, body=b"{}")))[0]
        assert 1 == sum(len(each.received) for each in on.accounts)
        (exchange,) = await on.house.booked()
        assert ("upstream_broke", f"{exchange.deployment}: connection reset") == (exchange.error, exchange.why)


async def test_a_target_whose_token_cannot_be_fetched_is_gone_around() -> None:
    """As one that refuses connections, for nothing was sent; one whose token is there gets it."""
    bad, good = GoogleIdentity(name="bad", scopes=("bad",)), GoogleIdentity(name="good", scopes=("good",))
    issuers = {bad: Issuer(refuses="no such account"), good: Issuer()}
    accounts = Account("a"), Account("b")
    targets = [target_to(each.port, each.name) for each in accounts]
    home, other = pool_of(*targets).ranked("")
    named = tuple(
        replace(each, route=replace(each.route, headers=(), upstream_auth=bad if each is home else good)) for each in targets
    )
    pool = pool_of(*named)
    tokens = sources_of(issuers)
    async with AsyncExitStack() as stack:
        for each in accounts:
            await each.open()
            stack.push_async_callback(each.kill)
        house = await stack.enter_async_context(road(pools=(pool,), tokens=tokens))
        on = Pooled(house, pool, accounts)
        for body in (b"", b"x" * 10, b"x" * 300_000):
            assert (b"200", other.id.encode()) == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=body))
        received = on.ranked()[1].received
        assert [b"", b"x" * 10, b"x" * 300_000] == [each.body for each in received]
        assert {(b"Bearer " + issuers[good].issued[0].encode(),)} == {tuple(each.values(b"authorization")) for each in received}
        assert {(home.id, "credentials")} == on.cooling
        assert f"{home.id}: credentials" == (await house.booked(3))[0].why


@pytest.mark.parametrize(("size", "expected"), [(10, b"200"), (300_000, b"401")])
async def test_a_rejected_token_is_renewed_for_the_same_target(size: int, expected: bytes) -> None:
    """Also without `retries`, where only one of the targets has a token: a small body is held for that, a large one is not."""
    issuer = Issuer()
    tokens = issuer.sources()
    async with pooled(tokens=tokens) as on:
        home, other = on.ranked()
        on.adopt({home.name: {"headers": (), "upstream_auth": IDENTITY}}, tokens)
        home.moods = [REJECTED]
        assert expected == (await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"x" * size)))[0]
        asked = [each.values(b"authorization") for each in home.received]
        assert [[b"Bearer " + token.encode()] for token in issuer.issued[: len(asked)]] == asked
        assert (2 if expected == b"200" else 1, []) == (len(asked), other.received)


async def test_a_clients_fault_is_relayed() -> None:
    """It says nothing about the target, and is counted as what it is."""
    wrong = ok(b"wrong", status=b"400 Bad Request")
    async with pooled(**TRIED) as on:
        home = on.ranked()[0]
        home.moods = [wrong, ok(b"moved", status=b"302 Found")]
        assert [b"wrong", b"moved"] == [(await on.ask(asking(FILE)))[1] for _ in range(2)]
        assert {(home.name, "400"): 1, (home.name, "answered"): 1} == on.house.relay.ocr.balancer.tries


# ── ends ──


async def test_a_client_that_leaves_while_we_wait_ends_it() -> None:
    """No further try is made for a client that has left, and nothing is under way."""
    wait = ok(b"busy", b"Retry-After: 30", status=b"429 Too Many Requests")
    async with pooled(retries=replace(HELD, max_wait_s=60), routing=replace(ROUTING, max_wait_s=60)) as on:
        home = on.ranked()[0]
        home.moods = [wait]
        async with client(on.house.port) as raw:
            await raw.send(asking(b"POST /m/v1/files HTTP/1.1", body=b"{}"))
            await until(lambda: bool(on.cooling))
        (exchange,) = await on.house.booked()
        assert (Outcome.CLIENT_GONE, None, 1) == (exchange.outcome, exchange.status, exchange.attempts)
        assert 1 == len(home.received)


@pytest.mark.parametrize("stops", [False, True])
async def test_a_call_whose_client_left_is_settled(stops: bool) -> None:
    """It is under way at its target until its pages are known, or the stop cuts it off."""
    go = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(DONE)
        await peer.ended()

    async with pooled() as on:
        for each in on.accounts:
            each.raw.script = slow
        async with client(on.house.port) as raw:
            await raw.send(asking(OCR, body=b"{}"))
            await until(lambda: any(each.received for each in on.accounts))
        await until(lambda: not on.house.relay.active)
        balancer = on.house.relay.ocr.balancer
        assert 1 == sum(balancer.under_way(each) for each in on.pool.deployments)
        if stops:
            await on.house.settling.cut_off()
        else:
            go.set()
        (exchange,) = await on.house.booked()
        assert 0 == sum(balancer.under_way(each) for each in on.pool.deployments)
        assert (Outcome.CUT_OFF if stops else Outcome.CLIENT_GONE) == exchange.outcome
        assert (None if stops else 3) == (await exchange.usage_source.usage()).pages
        go.set()


async def test_no_try_begins_behind_the_total_time_out() -> None:
    """The response is relayed instead of a wait that would be longer."""
    timeouts = Timeouts(total_s=5.0)
    wait = ok(b"busy", b"Retry-After: 6", status=b"429 Too Many Requests")
    async with pooled(retries=HELD, routing=replace(ROUTING, max_wait_s=60), timeouts=timeouts) as on:
        home = on.ranked()[0]
        home.moods = [wait]
        assert (b"429", b"busy") == await on.ask(asking(b"POST /m/v1/files HTTP/1.1", body=b"{}"))


async def test_a_client_whose_body_is_too_slow_or_too_large_blames_no_target() -> None:
    """408 and 413 are the client's; the targets stay as they are."""
    async with pooled(timeouts=Timeouts(idle_s=0.05), max_body_bytes=1000, **TRIED) as on:
        async with client(on.house.port) as raw:
            await raw.send(asking(OCR, b"Content-Length: 900"), b"x")
            assert b"408" == (await raw.answer())[0][9:12]
        async with client(on.house.port) as raw:
            await raw.send(asking(OCR, b"Transfer-Encoding: chunked"), chunk(b"x" * 1001))
            assert b"413" == (await raw.answer())[0][9:12]
        assert (set(), {}) == (on.cooling, dict(on.house.relay.ocr.balancer.tries))
        assert [None, None] == [each.why for each in await on.house.booked(2)]


async def test_budgets_are_asked_before_a_target_is_chosen() -> None:
    """By the endpoint's own terms; a refused request has no target."""
    seen: list[tuple[str | None, str | None]] = []

    class NothingLeft:
        def enter(self, exchange: Exchange) -> None:
            seen.append((None if exchange.terms is None else exchange.terms.route, exchange.target))
            raise Refusal("budget_spent", "Nothing is left.")

    async with pooled(allowance=NothingLeft()) as on:
        assert b"429" == (await on.ask(asking(FILE)))[0]
        assert [("/m", None)] == seen
        assert [] == [each for account in on.accounts for each in account.received]


# ── many callers ──


async def test_many_callers_while_an_account_dies() -> None:
    """64 clients upload, sign, read and delete, again and again, while one of two accounts dies.

    Of a client that was at home at the dead one, one sequence at most breaks off, or goes on at the other account, where its file
    is not; all others are at one account each. Those of the other clients are at home from the first to the last.
    """
    died = asyncio.Event()
    steps = (b"POST /m/v1/files", b"GET /m/v1/files/7/url", b"POST /m/v1/ocr", b"DELETE /m/v1/files/7")

    async with pooled(clients=KEYS) as on:
        doomed, other = on.accounts

        async def sequence(raw: RawClient, number: int) -> list[tuple[bytes, bytes]]:
            answers = []
            for step in steps:
                await raw.send(asking(step + b" HTTP/1.1", b"Authorization: Bearer key-%d" % number, body=b"{}"))
                head, body = await raw.answer()
                answers.append((head[9:12], body))
                if answers[-1][0] != b"200":
                    break
            return answers

        async def caller(number: int) -> list[list[tuple[bytes, bytes]]]:
            async with client(on.house.port) as raw:
                found = [await sequence(raw, number) for _ in range(4)]
                if number == 0:
                    await doomed.kill()
                    died.set()
                found += [await sequence(raw, number) for _ in range(3)]
                await died.wait()
                return found + [await sequence(raw, number) for _ in range(3)]

        homes = [on.ranked(each.name)[0] for each in KEYS]
        assert all(homes.count(each) > 8 for each in on.accounts)
        for home, found in zip(homes, await asyncio.gather(*(caller(number) for number in range(64))), strict=True):
            failed = [each for each in found if each[-1][0] != b"200" or len(set(each)) > 1]
            names = [{body for _, body in each} for each in found if each not in failed]
            assert {other.name.encode()} == names[-1]
            if home is other:
                assert [] == failed
                assert {(other.name.encode(),)} == {tuple(each) for each in names}
            else:
                assert len(failed) <= 1
                assert {b"502", b"200"} >= {each[-1][0] for each in failed}
