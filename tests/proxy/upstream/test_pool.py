"""Connections to targets: kept clean, opened once more, through proxies and with their own authorities."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from passthrough.errors import UpstreamFailure
from passthrough.exchange import Exchange
from passthrough.proxy.routes import Target
from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.pool import MAX_IDLE, ConnectionPool
from passthrough.secret import Secret
from tests.harness.client import RawClient, client
from tests.harness.connections import body_of
from tests.harness.proxy import road, route_to
from tests.harness.tls import served_by
from tests.harness.upstream import Peer, Received, Script, answering, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

GET = b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"


def target_at(port: int, **more: Any) -> Target:
    """Return a plain target on loopback."""
    return replace(Target(tls=False, host="127.0.0.1", port=port, base_path=b"", name=f"127.0.0.1:{port}"), **more)


@asynccontextmanager
async def pool(**options: Any) -> AsyncIterator[ConnectionPool]:
    """Run a pool of connections."""
    connections = ConnectionPool(**options)
    try:
        yield connections
    finally:
        connections.close()


async def exchanged(connection: Connection) -> bytes:
    """Send a request and return the response's body."""
    connection.begin("GET")
    connection.write(GET)
    return await body_of(connection)


async def failure_of(target: Target, connect_s: float | None = WAIT_S) -> UpstreamFailure:
    """Return why no connection to `target` comes about."""
    async with pool() as connections:
        with pytest.raises(UpstreamFailure) as caught:
            await connections.open(target, connect_s)
        return caught.value


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port on which no one listens; it is bound meanwhile, so that no one else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def until_ended(connection: Connection) -> None:
    """Wait until an idle connection has noticed something."""
    async with asyncio.timeout(WAIT_S):
        await connection.arrived()


# ── what is kept ──


async def test_a_connection_serves_one_exchange_after_the_other() -> None:
    """After a whole exchange the connection is kept for its origin, and given out once."""
    async with upstream(answering(ok(b"a"))) as raw, pool() as connections:
        target = target_at(raw.port)
        first = await connections.open(target, WAIT_S)
        assert b"a" == await exchanged(first)
        connections.release(target, first)
        assert first is connections.checkout_idle(target.origin)
        assert None is connections.checkout_idle(target.origin)
        assert b"a" == await exchanged(first)
        assert 1 == raw.connections


@pytest.mark.parametrize("speaks", [True, False])
async def test_a_new_connection_that_is_spoilt_at_once_is_a_failed_connect(speaks: bool) -> None:
    """Where the target speaks first, or hangs up, before a request has begun, none is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_S)
        target = target_at(listening.getsockname()[1])
        async with pool() as connections:
            begun = asyncio.create_task(connections.checkout_or_connect(target, WAIT_S, "GET"))
            while not select.select([listening], [], [], 0)[0]:  # noqa: ASYNC110 - the kernel sets no event
                await asyncio.sleep(0)
            peer, _ = listening.accept()  # At once: what the target does is there before the loop has gone on.
            with peer:
                peer.sendall(b"220 welcome\r\n") if speaks else peer.shutdown(socket.SHUT_RDWR)
                with pytest.raises(UpstreamFailure) as caught:
                    await begun
            assert "upstream_unreachable" == caught.value.kind.code


async def test_the_youngest_connection_is_given_out_first() -> None:
    """The oldest ones age, so that a pool shrinks again after a burst."""
    async with upstream(answering(ok(b"a"))) as raw, pool() as connections:
        target = target_at(raw.port)
        opened = [await connections.open(target, WAIT_S) for _ in range(3)]
        for each in opened:
            await exchanged(each)
            connections.release(target, each)
        assert [*reversed(opened), None] == [connections.checkout_idle(target.origin) for _ in range(4)]


@pytest.mark.parametrize(
    "other",
    [
        {"host": "localhost"},
        {"port": 1},
        {"tls": True},
        {"ca_file": "a.pem"},
        {"proxy": Secret("http://a:b@proxy.test")},
    ],
)
async def test_a_connection_serves_its_own_origin_only(other: dict[str, Any]) -> None:
    """Another scheme, host, port, authority or proxy is another origin; another path is the same."""
    async with upstream(answering(ok(b"a"))) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        assert None is connections.checkout_idle(replace(target, **other).origin)
        assert connection is connections.checkout_idle(replace(target, base_path=b"/v1", query=b"a", name="b").origin)


SPOILT = {
    "surplus": [ok(b"a") + b"\r\n"],
    "a second answer": [ok(b"a") + ok(b"poison")],
    "close announced": [ok(b"a", b"Connection: close")],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"],
    "HEAD-like": [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"],
    "surplus of chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + ok(b"poison")],
}


@pytest.mark.parametrize("pieces", SPOILT.values(), ids=SPOILT)
async def test_a_spoilt_connection_is_not_kept(pieces: list[bytes]) -> None:
    """What came behind a response, or said that it was the last, ends the connection with its exchange."""
    async with upstream(answering(*pieces)) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        assert None is connections.checkout_idle(target.origin)


async def idle_and_then(last: bytes, *, close: bool) -> tuple[bool, bool]:
    """Tell whether an idle connection is given out, and is fresh, after the target sent `last` and perhaps closed."""
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"a"))
        await told.wait()
        if last:
            await peer.send(last)
        if not close:
            await peer.reader.read()

    async with upstream(script) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        told.set()
        await until_ended(connection)
        return connections.checkout_idle(target.origin) is not None, connection.is_reusable()


@pytest.mark.parametrize(("last", "close"), [(b"", True), (ok(b"poison"), False), (ok(b"poison"), True), (b"\r\n", False)])
async def test_what_comes_on_an_idle_connection_ends_it(last: bytes, close: bool) -> None:
    """A target that closes a kept connection, or sends a response that no one asked for, meets no further request."""
    assert (False, False) == await idle_and_then(last, close=close)


async def test_an_idle_connection_has_its_time() -> None:
    """What has been unused for too long is not given out, and is closed without being asked for."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"a"))
        assert b"" == await peer.reader.read()
        gone.set()

    async with upstream(script) as raw, pool(idle_s=0.01) as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        async with asyncio.timeout(WAIT_S):
            await gone.wait()
        assert None is connections.checkout_idle(target.origin)

    async with upstream(answering(ok(b"a"))) as raw, pool(idle_s=0.0) as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        assert None is connections.checkout_idle(target.origin)


@pytest.mark.parametrize(
    ("said", "way_s", "kept"),
    [
        (b"timeout=5", 0.0, True),
        (b"timeout=5, max=100", 0.0, True),
        (b"max=100,Timeout = 5", 0.0, True),
        (b"timeout=0", 0.0, False),
        (b"max=9, timeout=1", 0.95, False),
        (b'timeout="1"', 0.95, False),
        (b"timeout=5", 4.95, False),
        (b"timeout=soon", 0.95, True),
        (b"timeouts=0", 0.95, True),
        (b"no-timeout=0", 0.95, True),
        (b"timeout=99999999999999", 0.95, True),
    ],
)
async def test_what_the_target_says_of_its_keep_alive(said: bytes, way_s: float, kept: bool) -> None:
    """A connection is not kept for longer than the target says, less the time that it takes to get there and back."""
    async with upstream(answering(ok(b"a", b"Keep-Alive: " + said))) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        assert 0 <= connection.round_trip_s < WAIT_S
        connection.round_trip_s = way_s
        await exchanged(connection)
        connections.release(target, connection)
        assert kept == (connections.checkout_idle(target.origin) is connection)


async def test_a_connection_whose_time_at_the_target_is_over_gets_no_request() -> None:
    """The target said one second, and closes a little later: the next request goes on another connection."""
    async with upstream(answering(ok(b"a", b"Keep-Alive: timeout=1"))) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        await asyncio.sleep(1.0)
        assert None is connections.checkout_idle(target.origin)


async def test_a_connection_has_an_age() -> None:
    """Old ones are given up between two exchanges, whether they are about to be kept or to be given out."""
    async with upstream(answering(ok(b"a"))) as raw, pool(max_age_s=3600.0) as connections:
        target = target_at(raw.port)
        first = await connections.open(target, WAIT_S)
        for since_s, kept in ((3590.0, True), (3601.0, False)):
            await exchanged(first)
            first.opened_at = asyncio.get_running_loop().time() - since_s
            connections.release(target, first)
            assert kept == (connections.checkout_idle(target.origin) is first)


async def test_only_so_many_idle_connections_are_kept() -> None:
    """Beyond the bound the oldest is closed."""
    async with upstream(answering(ok(b"a"))) as raw, pool() as connections:
        target = target_at(raw.port)
        opened = [await connections.open(target, WAIT_S) for _ in range(MAX_IDLE + 1)]
        for each in opened:
            await exchanged(each)
            connections.release(target, each)
        assert not opened[0].is_reusable()
        assert [*reversed(opened[1:]), None] == [connections.checkout_idle(target.origin) for _ in opened]


async def test_closing_the_pool_closes_what_is_idle() -> None:
    """`close` leaves no connection open, and may come twice."""
    async with upstream(answering(ok(b"a"))) as raw, pool() as connections:
        target = target_at(raw.port)
        connection = await connections.open(target, WAIT_S)
        await exchanged(connection)
        connections.release(target, connection)
        connections.close()
        assert (None, False) == (connections.checkout_idle(target.origin), connection.is_reusable())


# ── the pool behind the proxy: no client ever meets another's bytes ──


async def asked(raw: RawClient, path: bytes) -> bytes:
    """Ask the proxy for `path` and return the response's body."""
    await raw.send(b"GET %b HTTP/1.1\r\nHost: proxy.test\r\n\r\n" % path)
    return (await raw.answer())[1]


@pytest.mark.parametrize("late", [False, True])
async def test_a_poisoned_answer_never_reaches_the_next_client(late: bool) -> None:
    """Surplus bytes of one exchange are no one's: the next request goes on another connection (aio-libs/aiohttp #13656)."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            answer = ok(request.line.split()[1])
            await (peer.send(answer, ok(b"poison")) if late else peer.send(answer + ok(b"poison")))

    async with upstream(script) as raw, road(route_to(raw.port)) as way, client(way.port) as one, client(way.port) as other:
        for number in range(10):
            path = b"/%d" % number
            assert path == await asked(other if number % 2 else one, path)
        await way.booked(10)
        assert {1} == {exchange.attempts for exchange in way.exchanges}


async def test_a_stale_connection_is_noticed_before_anything_is_sent() -> None:
    """A target that closed the kept connection gets the next request on a new one, a POST too, exactly once."""

    gone = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"a"))
        peer.writer.close()
        await peer.writer.wait_closed()
        gone.release()

    async with upstream(script) as raw, road(route_to(raw.port)) as way, client(way.port) as one:
        for _ in range(3):
            await one.send(b"POST /a HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 1\r\n\r\nx")
            assert b"a" == (await one.answer())[1]
            async with asyncio.timeout(WAIT_S):
                await gone.acquire()
        assert (3, 3) == (len(raw.received), raw.connections)


async def test_a_failed_connect_is_tried_once_more() -> None:
    """Nothing was sent, so a second try is safe; two refusals are the client's 502, and the ledger shows both attempts."""
    with closed_port() as port:
        async with road(route_to(port)) as way, client(way.port) as one:
            await one.send(b"POST /a HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 1\r\n\r\nx")
            head, body = await one.answer()
            assert head.startswith(b"HTTP/1.1 502 ")
            assert b"upstream_unreachable" in body
            (exchange,) = await way.booked()
            assert ("upstream_unreachable", 2, 502) == (exchange.error, exchange.attempts, exchange.status)


async def test_a_second_connect_that_works_is_all_the_client_sees() -> None:
    """A TLS handshake that breaks off once is made good by the second try."""
    broken: list[int] = []

    async def front(peer: Peer) -> None:
        if not broken:
            broken.append(await broken_handshake(peer))
            return
        await spliced(peer, raw.port)

    authority = trustme.CA()
    async with upstream(answering(ok(b"a")), ssl=served_by(authority, "localhost")) as raw, upstream(front) as before:
        with authority.cert_pem.tempfile() as ca_file:
            own = route_to(before.port, target={"tls": True, "host": "localhost", "ca_file": ca_file})
            async with road(own) as way, client(way.port) as one:
                assert b"a" == await asked(one, b"/a")
                (exchange,) = await way.booked()
                assert (2, None) == (exchange.attempts, exchange.error)


@dataclass
class Leaving:
    """An allowance that has the target end its connection, unseen yet, when a request to `/second` is about to be sent."""

    peers: list[Peer] = field(default_factory=list)

    def enter(self, exchange: Exchange) -> None:
        """Let all go on."""
        if exchange.path == "/second":
            with socket.socket(fileno=os.dup(self.peers[0].writer.get_extra_info("socket").fileno())) as past:
                past.shutdown(socket.SHUT_WR)


async def test_a_second_connect_that_works_where_a_kept_connection_had_ended() -> None:
    """Among other requests too, whose connections are looked at late: nothing was sent, so that a connect may fail once."""
    leaving = Leaving()

    async def front(peer: Peer) -> None:
        leaving.peers.append(peer)
        await (broken_handshake(peer) if peer.number == 2 else spliced(peer, raw.port))

    async def others(peer: Peer) -> None:
        await peer.request()
        await peer.ended()

    authority = trustme.CA()
    async with (
        upstream(answering(ok(b"a")), ssl=served_by(authority, "localhost")) as raw,
        upstream(front) as before,
        upstream(others) as slow,
    ):
        with authority.cert_pem.tempfile() as ca_file:
            own = route_to(before.port, target={"tls": True, "host": "localhost", "ca_file": ca_file})
            async with (
                road(route_to(slow.port, b"/others"), own, allowance=leaving) as way,
                client(way.port) as other,
                client(way.port) as one,
            ):
                await other.send(b"GET /others HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
                await until(lambda: len(slow.received) == 1)
                assert b"a" == await asked(one, b"/first")
                assert b"a" == await asked(one, b"/second")
                assert 2 == len(raw.received)


# ── why no connection comes about ──


async def test_a_refused_port() -> None:
    """No one listens: unreachable, in the system's words, without the address that the name has."""
    with closed_port() as port:
        failure = await failure_of(target_at(port, host="localhost", name="api.test"))
    assert ("upstream_unreachable", "No connection to api.test: Connection refused.") == (failure.kind.code, failure.message)


@pytest.mark.parametrize("host", ["name.invalid", "a..b", "x" * 64 + ".invalid"])
async def test_a_name_that_cannot_be_resolved(host: str) -> None:
    """An unknown name, and one that DNS could not even hold, are told by name."""
    failure = await failure_of(target_at(1, host=host))
    expected = f"The name {host} cannot be resolved."
    assert ("upstream_unreachable", expected) == (failure.kind.code, failure.message)


async def silent(peer: Peer) -> None:
    """Take everything, say nothing."""
    await peer.reader.read()


async def test_a_handshake_without_end() -> None:
    """The connect time-out covers the TLS handshake."""
    async with upstream(silent) as raw:
        failure = await failure_of(target_at(raw.port, tls=True), 0.05)
    assert "upstream_timeout" == failure.kind.code


async def broken_handshake(peer: Peer) -> int:
    """Read a ClientHello and break off; return its size."""
    hello = await peer.reader.read(4096)
    peer.reset()
    return len(hello)


async def plain_http(peer: Peer) -> None:
    """Respond to a ClientHello as a plain HTTP server does."""
    await peer.reader.read(4096)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def reset(peer: Peer) -> None:
    """Break a handshake off."""
    await broken_handshake(peer)


async def ended(peer: Peer) -> None:
    """Close in the middle of a handshake."""
    await peer.reader.read(4096)


@pytest.mark.parametrize("script", [plain_http, reset, ended])
async def test_a_handshake_that_fails(script: Script) -> None:
    """Something that does not speak TLS is unreachable."""
    async with upstream(script) as raw:
        failure = await failure_of(target_at(raw.port, tls=True))
    assert "upstream_unreachable" == failure.kind.code


# ── TLS ──


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("prepared", [False, True])
async def test_an_authority_of_ones_own(authority: trustme.CA, ca_file: str, host: str, prepared: bool) -> None:
    """A target whose certificate a configured authority signed is reached, by name and by address, over HTTP/1.1 (ALPN)."""
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(ok(b"a"))(peer)

    async with upstream(script, ssl=served_by(authority, "localhost", "127.0.0.1")) as raw, pool() as connections:
        target = target_at(raw.port, tls=True, host=host, ca_file=ca_file)
        if prepared:
            await connections.prepare([target, target_at(1)])
        connection = await connections.open(target, WAIT_S)
        assert b"a" == await exchanged(connection)
        connections.release(target, connection)
        assert connection is connections.checkout_idle(target.origin)
        assert b"a" == await exchanged(connection)
        assert (["http/1.1"], 1) == (chosen, raw.connections)


async def test_a_certificate_that_nobody_vouches_for(authority: trustme.CA) -> None:
    """Without the authority the target is unreachable, with the cure."""
    async with upstream(answering(ok()), ssl=served_by(authority, "localhost")) as raw:
        failure = await failure_of(target_at(raw.port, tls=True, host="localhost"))
    assert ("upstream_unreachable", True, True) == (
        failure.kind.code,
        "certificate" in failure.message,
        "ca_file" in failure.hint,
    )


async def test_a_certificate_for_another_name(authority: trustme.CA, ca_file: str) -> None:
    """The certificate must be the target's own."""
    async with upstream(answering(ok()), ssl=served_by(authority, "else.test")) as raw:
        failure = await failure_of(target_at(raw.port, tls=True, host="localhost", ca_file=ca_file))
    assert ("upstream_unreachable", True) == (failure.kind.code, "mismatch" in failure.message.lower())


async def test_a_name_with_the_dot_of_the_root() -> None:
    """It is looked up with it; SNI and the certificate are without (RFC 6066 §3)."""
    authority = trustme.CA()
    named: list[str | None] = []
    context = served_by(authority, "localhost")
    context.sni_callback = lambda _, name, __: named.append(name)

    def look_up(host: str, port: None, **options: Any) -> list[Any]:
        named.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    with authority.cert_pem.tempfile() as ca_file:
        async with upstream(answering(ok(b"a")), ssl=context) as raw, pool(look_up=look_up) as connections:
            target = target_at(raw.port, tls=True, host="localhost.", ca_file=ca_file)
            assert b"a" == await exchanged(await connections.open(target, WAIT_S))
    assert ["localhost.", "localhost"] == named


def link_local() -> str:
    """Return a link-local address of this machine with its zone."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else ():
        raw, *_, name = line.split()
        if raw.startswith("fe80"):
            return f"{ipaddress.IPv6Address(int(raw, 16))}%{name}"
    pytest.skip("There is no link-local address.")


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_link_local_target_with_a_zone(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It is reached, and the zone does not leave the machine (RFC 6874 §1)."""
    host = link_local()

    async def talk() -> None:
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ok(b"a"))
            writer.close()

        server = await asyncio.start_server(serve, host, 0)
        port = server.sockets[0].getsockname()[1]
        async with server, road(route_to(port, target={"host": host})) as house, client(house.port) as one:
            assert b"a" == await asked(one, b"/")
        assert f"Host: [{host.partition('%')[0]}]:{port}\r\n".encode() in heard[0]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


async def test_a_certificate_file_that_is_gone(authority: trustme.CA, tmp_path: Path) -> None:
    """A file that vanished after the start fails the request, not the program."""
    async with upstream(answering(ok()), ssl=served_by(authority, "localhost")) as raw:
        target = target_at(raw.port, tls=True, host="localhost", ca_file=str(tmp_path / "gone.pem"))
        failure = await failure_of(target)
    assert "upstream_unreachable" == failure.kind.code


@pytest.mark.parametrize("alert", [False, True])
async def test_under_tls_only_the_targets_own_word_ends_a_body_without_length(
    authority: trustme.CA, ca_file: str, alert: bool
) -> None:
    """A cut of the TCP connection, which anybody on the way can fake, is no end; a closure alert is (RFC 9112 §9.8)."""

    async def inner(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if not alert:
            await peer.reader.read()

    cut = asyncio.Event()

    async def front(peer: Peer) -> None:
        splicing = asyncio.create_task(spliced(peer, raw.port))
        cutting = asyncio.create_task(cut.wait())
        await asyncio.wait({splicing, cutting}, return_when=asyncio.FIRST_COMPLETED)
        splicing.cancel()
        cutting.cancel()

    async with upstream(inner, ssl=served_by(authority, "localhost")) as raw, upstream(front) as before, pool() as connections:
        target = target_at(before.port, tls=True, host="localhost", ca_file=ca_file)
        connection = await connections.open(target, WAIT_S)
        connection.begin("GET")
        connection.write(GET)
        if alert:
            assert b"half" == await body_of(connection)
            return
        async with asyncio.timeout(WAIT_S):
            while connection.take() != b"half":
                await connection.arrived()
        cut.set()
        with pytest.raises(UpstreamFailure) as caught:
            await body_of(connection)
        assert "upstream_broke" == caught.value.kind.code


# ── HTTP proxies ──


async def spliced(peer: Peer, port: int) -> None:
    """Copy bytes between a peer and a port of loopback, both ways, until either ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()

    ways = [asyncio.ensure_future(copy(peer.reader, writer)), asyncio.ensure_future(copy(reader, peer.writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        writer.close()
        await asyncio.gather(*ways, return_exceptions=True)


async def tunnel(peer: Peer) -> None:
    """Serve CONNECT as a proxy does."""
    line, fields, raw = await peer.head()
    peer.upstream.received.append(Received(line, fields, b"", peer.number, raw))
    await peer.send(b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n")
    await spliced(peer, int(line.split()[1].rpartition(b":")[2]))


async def test_a_tls_target_behind_a_proxy(authority: trustme.CA, ca_file: str) -> None:
    """CONNECT opens a tunnel, with the proxy's credentials, which the target never sees; the tunnel is kept like a connection."""
    async with upstream(answering(ok(b"a")), ssl=served_by(authority, "localhost")) as raw, upstream(tunnel) as proxy:
        via = Secret(f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        target = {"tls": True, "host": "localhost", "ca_file": ca_file, "proxy": via}
        async with road(route_to(raw.port, target=target)) as way, client(way.port) as one:
            assert [b"a", b"a"] == [await asked(one, b"/a"), await asked(one, b"/b")]
        (connect,) = proxy.received
        assert b"CONNECT localhost:%d HTTP/1.1" % raw.port == connect.line
        assert [(b"Host", b"localhost:%d" % raw.port), (b"Proxy-Authorization", b"Basic dXNlcjpwQHNz")] == connect.fields
        assert [b"GET /a HTTP/1.1", b"GET /b HTTP/1.1"] == [each.line for each in raw.received]
        assert [] == [each for each in raw.received if each.values(b"Proxy-Authorization")]


async def test_a_plain_target_behind_a_proxy() -> None:
    """A plain request names its target in full and goes to the proxy, with the proxy's credentials."""
    async with upstream(answering(ok(b"a"))) as proxy:
        via = Secret(f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        own = route_to(8080, target={"host": "api.invalid", "proxy": via})
        async with road(own) as way, client(way.port) as one:
            assert [b"a", b"a"] == [await asked(one, b"/a?b=%2F"), await asked(one, b"/")]
        first, second = proxy.received
        assert [b"GET http://api.invalid:8080/a?b=%2F HTTP/1.1", b"GET http://api.invalid:8080/ HTTP/1.1"] == [
            first.line,
            second.line,
        ]
        assert [b"api.invalid:8080"] == first.values(b"Host")
        assert [b"Basic dXNlcjpwQHNz"] == first.values(b"Proxy-Authorization")
        assert 1 == proxy.connections


def refusing(answer: bytes) -> Script:
    """Return a proxy that responds to CONNECT with these bytes and closes."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer)

    return script


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "refused a tunnel (407)"),
        (b"HTTP/1.0 403\r\n\r\n", "refused a tunnel (403)"),
        (b"HTTP/1.1 2000 Odd\r\n\r\n", "refused a tunnel (no HTTP)"),
        (b"SSH-2.0-OpenSSH_9.2 200 OK\r\n\r\n", "refused a tunnel (no HTTP)"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 4000, "sent a header without end"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes, said: str) -> None:
    """What the proxy says instead is told by its status alone, none of its bytes."""
    async with upstream(refusing(answer)) as proxy:
        target = target_at(443, tls=True, host="::1", proxy=Secret(f"http://127.0.0.1:{proxy.port}"), name="api.test")
        failure = await failure_of(target)
    assert ("upstream_unreachable", f"The proxy before api.test {said}.") == (failure.kind.code, failure.message)


async def test_a_tunnel_to_an_ipv6_address_is_asked_for_in_brackets() -> None:
    """The authority of an IPv6 target is bracketed (RFC 3986 §3.2.2)."""
    lines: list[bytes] = []

    async def script(peer: Peer) -> None:
        lines.append((await peer.head())[0])

    async with upstream(script) as proxy:
        await failure_of(target_at(443, tls=True, host="::1", proxy=Secret(f"http://127.0.0.1:{proxy.port}")))
    assert [b"CONNECT [::1]:443 HTTP/1.1"] == lines


async def test_a_proxy_whose_name_cannot_be_resolved() -> None:
    """The message names the proxy's host, not the target's."""
    failure = await failure_of(target_at(443, proxy=Secret("http://proxy.invalid:3128")))
    assert "The name proxy.invalid cannot be resolved." == failure.message
