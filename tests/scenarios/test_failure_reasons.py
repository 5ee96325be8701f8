"""Why an upstream failed: in the log, the ledger and on stderr, for routes and deployments alike, and without a secret."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import aiohttp
import pytest
import trustme

from passthrough.errors import Reason
from passthrough.exchange import Outcome
from passthrough.proxy.routes import Retries, Timeouts
from passthrough.secret import Secret
from tests.harness.client import asking, client
from tests.harness.ports import free_port
from tests.harness.process import program
from tests.harness.proxy import pool_of, road, route_to, target_to
from tests.harness.tls import served_by
from tests.harness.upstream import Peer, Script, answering, chunk, ok, upstream

pytestmark = pytest.mark.wire

PATIENT = Timeouts()
SHORT = Timeouts(connect_s=0.2, header_s=0.2, idle_s=0.2)
TOTAL = Timeouts(connect_s=30, header_s=30, idle_s=30, total_s=0.3)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
ASKED = asking(b"POST /a?key=canary HTTP/1.1", body=b"{}")


async def silent(peer: Peer) -> None:
    """Take everything, say nothing."""
    await peer.ended()


async def closing_early(peer: Peer) -> None:
    """Read a request and close."""
    await peer.request()


async def resetting(peer: Peer) -> None:
    """Read a request and break the connection off."""
    await peer.request()
    peer.reset()


def then(*pieces: bytes, ends: bool) -> Script:
    """Return a script that responds to one request, and then closes or is silent."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        if not ends:
            await peer.ended()

    return script


RESPONSES: tuple[tuple[Script, Timeouts, Reason, str | None], ...] = (
    (closing_early, Timeouts(), Reason.CLOSED_UNANSWERED, "upstream_broke"),
    (resetting, Timeouts(), Reason.RESET, "upstream_broke"),
    (then(HEAD, b"1234", ends=True), Timeouts(), Reason.CLOSED_WITHIN, "upstream_broke"),
    (then(b"SSH-2.0-OpenSSH_9.2\r\n", ends=False), Timeouts(), Reason.MALFORMED, "bad_upstream_answer"),
    (silent, SHORT, Reason.HEADER_TIMEOUT, "upstream_timeout"),
    (silent, TOTAL, Reason.TOTAL_TIMEOUT, "upstream_timeout"),
    (then(HEAD, b"1234", ends=False), SHORT, Reason.IDLE_TIMEOUT, "upstream_timeout"),
    (then(HEAD, b"1234", ends=False), TOTAL, Reason.TOTAL_TIMEOUT, "upstream_timeout"),
)


@pytest.mark.parametrize(("script", "timeouts", "reason", "error"), RESPONSES)
async def test_a_response_that_fails(script: Script, timeouts: Timeouts, reason: Reason, error: str) -> None:
    """Before it, in it, by each time-out: on a route, and at a target among several, where the target is named."""
    async with upstream(script) as above:
        pool = pool_of(target_to(above.port, "eu", b"/pool", timeouts=timeouts))
        async with road(route_to(above.port, timeouts=timeouts), pools=(pool,)) as house:
            for line in (b"POST /a HTTP/1.1", b"POST /pool/a HTTP/1.1"):
                async with client(house.port) as one:
                    await one.send(asking(line, b"Connection: close", body=b"{}"))
                    await one.broken()
            plain, pooled = await house.booked(2)
            name = f"127.0.0.1:{above.port}"
    assert (error, str(reason), ((name, str(reason)),)) == (plain.error, plain.why, plain.failures)
    assert (error, f"eu: {reason}", ((f"{name} (eu)", str(reason)),)) == (pooled.error, pooled.why, pooled.failures)
    assert {str} == {type(each.why) for each in (plain, pooled)}  # a database takes no other


async def test_a_target_that_takes_nothing_of_the_body() -> None:
    """An upload that stops at the target is told apart from one that stops at the client."""

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with upstream(script) as above, road(route_to(above.port, timeouts=SHORT)) as house, client(house.port) as one:
        await one.send(asking(b"POST /a HTTP/1.1", b"Content-Length: 50000000"))
        sending = asyncio.ensure_future(one.send(*[b"x" * 100_000] * 500))
        (exchange,) = await house.booked()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert ("upstream_timeout", "upload time-out") == (exchange.error, exchange.why)


async def test_a_client_that_leaves_is_no_failure_of_the_target() -> None:
    """Nothing is noted of a target whose client broke off its upload."""
    async with upstream(silent) as above, road(route_to(above.port)) as house:
        async with client(house.port) as one:
            await one.send(asking(b"POST /a HTTP/1.1", b"Content-Length: 50"), b"12345")
            one.reset()
        (exchange,) = await house.booked()
    assert (Outcome.CLIENT_GONE, None, ()) == (exchange.outcome, exchange.why, exchange.failures)


# ── connections ──


def expired(authority: trustme.CA) -> trustme.LeafCert:
    """A certificate that is not valid any more."""
    return authority.issue_cert(
        "localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
    )


def to_come(authority: trustme.CA) -> trustme.LeafCert:
    """A certificate that is not valid yet."""
    later = datetime.now(UTC) + timedelta(days=9)
    return authority.issue_cert("localhost", not_before=later, not_after=later + timedelta(days=9))


CERTIFICATES: tuple[tuple[Callable[[trustme.CA], trustme.LeafCert], bool, Reason], ...] = (
    (expired, True, Reason.EXPIRED),
    (to_come, True, Reason.NOT_YET_VALID),
    (lambda authority: authority.issue_cert("else.test"), True, Reason.OTHER_NAME),
    (lambda authority: authority.issue_cert("localhost"), False, Reason.UNKNOWN_AUTHORITY),
    (lambda _: trustme.CA().issue_cert("localhost"), True, Reason.UNKNOWN_AUTHORITY),
)


async def why_of(port: int, timeouts: Timeouts = PATIENT, **target: Any) -> str | None:
    """Send one request to a target; return why it failed."""
    async with road(route_to(port, timeouts=timeouts, target=target)) as house, client(house.port) as one:
        await one.send(ASKED)
        head, body = await one.answer()
        (exchange,) = await house.booked()
    assert b"canary" not in head + body
    assert exchange.why is not None
    assert "canary" not in exchange.why
    assert [exchange.why] == [why for _, why in exchange.failures]
    return exchange.why


@pytest.mark.parametrize(("made", "is_trusted", "reason"), CERTIFICATES)
async def test_a_certificate(
    made: Callable[[trustme.CA], trustme.LeafCert], is_trusted: bool, reason: Reason, tmp_path: Path
) -> None:
    """What is wrong with it is said in a few words."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made(authority).configure_cert(context)
    async with upstream(answering(ok()), ssl=context) as above:
        ca_file = str(tmp_path / "ca.pem") if is_trusted else None
        assert reason == await why_of(above.port, tls=True, host="localhost", ca_file=ca_file)


async def test_a_certificate_of_another_address(tmp_path: Path) -> None:
    """A target that is an IP address wants that one in it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with upstream(answering(ok()), ssl=served_by(authority, "localhost")) as above:
        assert Reason.OTHER_NAME == await why_of(above.port, tls=True, host="127.0.0.1", ca_file=str(tmp_path / "ca.pem"))


async def greeting(peer: Peer) -> None:
    """Respond to a ClientHello as a plain HTTP server does."""
    await peer.reader.read(4096)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def hanging_up(peer: Peer) -> None:
    """Break off in a handshake."""
    await peer.reader.read(4096)
    peer.reset()


async def leaving(peer: Peer) -> None:
    """Close cleanly in a handshake."""
    await peer.reader.read(4096)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (greeting, Reason.NO_TLS),
        (hanging_up, Reason.RESET),
        (leaving, Reason.TLS_CLOSED),
        (silent, Reason.CONNECT_TIMEOUT),
    ],
)
async def test_a_handshake(script: Script, reason: Reason) -> None:
    """With what does not speak TLS, breaks off, or is silent."""
    async with upstream(script) as above:
        assert reason == await why_of(above.port, SHORT if reason is Reason.CONNECT_TIMEOUT else Timeouts(), tls=True)


@contextmanager
def strict_listener(authority: trustme.CA, version: ssl.TLSVersion) -> Iterator[int]:
    """A port that speaks this version of TLS, wants a client's certificate, and says so by an alert."""
    context = served_by(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode, context.minimum_version, context.maximum_version = ssl.CERT_REQUIRED, version, version

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                with accepted, suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True) as one:
                    one.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("version", "reason"),
    [(ssl.TLSVersion.TLSv1_2, Reason.TLS_REFUSED), (ssl.TLSVersion.TLSv1_3, Reason.CLIENT_CERTIFICATE)],
)
async def test_a_target_that_wants_a_clients_certificate(version: ssl.TLSVersion, reason: Reason, tmp_path: Path) -> None:
    """Since TLS 1.3 its alert says that; before, that it refuses."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with strict_listener(authority, version) as port:
        assert reason == await why_of(port, tls=True, host="localhost", ca_file=str(tmp_path / "ca.pem"))


async def test_what_is_not_there() -> None:
    """A name, a port, a network, this proxy itself."""
    assert Reason.NAME == await why_of(1, host="name.invalid")
    assert Reason.REFUSED == await why_of(free_port())
    assert Reason.UNREACHABLE == await why_of(1, host="fe80::1%nowhere0")
    async with road() as house:
        house.upstream.listening = [house.server.sockets[0].getsockname()]
        house.adopt([route_to(house.port)])
        async with client(house.port) as one:
            await one.send(ASKED)
            await one.answer()
        (exchange,) = await house.booked()
    assert ("proxy_loop", Reason.LOOP) == (exchange.error, exchange.why)


@pytest.fixture
def backlog() -> Iterator[int]:
    """A port whose listener accepts nothing, with its queue full: a connect gets no answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        held = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            held.append(one)
        yield int(listener.getsockname()[1])
        for one in held:
            one.close()


async def test_a_connect_without_an_answer(backlog: int) -> None:
    """As behind a firewall that drops."""
    assert Reason.CONNECT_TIMEOUT == await why_of(backlog, SHORT)


async def test_a_connect_that_the_total_time_out_ends(backlog: int) -> None:
    """It is said, on a route and of a deployment; and no second connect is tried in no time."""
    assert Reason.TOTAL_TIMEOUT == await why_of(backlog, TOTAL)
    pool = pool_of(target_to(backlog, "eu", b"/pool", timeouts=TOTAL))
    async with road(pools=(pool,)) as house, client(house.port) as one:
        await one.send(asking(b"POST /pool/a HTTP/1.1", body=b"{}"))
        await one.answer()
        (exchange,) = await house.booked()
    assert ("eu: total time-out", 1) == (exchange.why, exchange.attempts)


async def denying(peer: Peer) -> None:
    """Refuse a tunnel."""
    await peer.head()
    await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


async def test_a_proxy_on_the_way() -> None:
    """Its name and its port are told apart from the target's, and never with its credentials."""
    for tls in (False, True):
        proxy = Secret(f"http://user:canary@127.0.0.1:{free_port()}")
        assert Reason.PROXY_REFUSED == await why_of(1, tls=tls, host="api.test", proxy=proxy)
        proxy = Secret("http://user:canary@proxy.invalid:1")
        assert Reason.PROXY_NAME == await why_of(1, tls=tls, host="api.test", proxy=proxy)
    async with upstream(denying) as above:
        proxy = Secret(f"http://user:canary@127.0.0.1:{above.port}")
        assert Reason.NO_TUNNEL == await why_of(443, tls=True, host="api.test", proxy=proxy)


async def test_what_is_the_proxys_fault_is_not_the_targets(backlog: int) -> None:
    """Up to its tunnel; behind that it is the target's."""

    async def breaking(peer: Peer) -> None:
        await peer.head()
        peer.reset()

    async def tunnelling(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.reader.read(4096)
        peer.reset()

    async def why(port: int, tls: bool = True, host: str = "127.0.0.1") -> str | None:
        return await why_of(443, SHORT, tls=tls, host="api.test", proxy=Secret(f"http://user:canary@{host}:{port}"))

    for script, reason in ((breaking, Reason.PROXY_RESET), (silent, Reason.PROXY_TIMEOUT), (tunnelling, Reason.RESET)):
        async with upstream(script) as above:
            assert reason == await why(above.port)
    for tls in (False, True):
        assert Reason.PROXY_TIMEOUT == await why(backlog, tls)
        assert Reason.PROXY_UNREACHABLE == await why(1, tls, "[fe80::1%25nowhere0]")


# ── tries ──


async def test_a_try_that_another_one_followed() -> None:
    """The reason of the last one that failed stays, also where the next has a response: a status, or a connection that ended."""
    statuses = iter([b"503 Busy", b"200 OK", b"200 OK"])

    async def busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(status=next(statuses)))

    kept = Retries(attempts=1, statuses=frozenset({503}), max_wait_s=0.01)
    async with upstream(busy) as above, road(route_to(above.port, retries=kept)) as house, client(house.port) as one:
        for _ in range(2):
            await one.send(ASKED)
            await one.answer()
        tried, once = await house.booked(2)
    assert ("503", (), 2, Outcome.COMPLETED) == (tried.why, tried.failures, tried.attempts, tried.outcome)
    assert (None, (), 1) == (once.why, once.failures, once.attempts)


async def test_a_target_that_is_left_for_another() -> None:
    """Its name and its reason stay, with the response of the other."""
    async with upstream(answering(ok())) as above:
        down = free_port()
        pool = pool_of(target_to(down, "down", order=1), target_to(above.port, "well", order=2))
        async with road(pools=(pool,)) as house, client(house.port) as one:
            await one.send(asking(b"POST /m/a HTTP/1.1", body=b"{}"))
            await one.answer()
            (exchange,) = await house.booked()
    assert (Outcome.COMPLETED, "down: connection refused", "well") == (exchange.outcome, exchange.why, exchange.deployment)
    assert ((f"127.0.0.1:{down} (down)", "connection refused"),) == exchange.failures


# ── the program ──


async def post(url: str, **options: Any) -> int:
    """Send a request; return the status."""
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{}", **options) as response:
        await response.read()
        return response.status


@pytest.mark.process
async def test_log_ledger_and_stderr_say_why(tmp_path: Path) -> None:
    """The log and the ledger for each request; stderr at once, and at the end how many there were."""
    down = free_port()
    route = {"path": "/down", "target": f"http://127.0.0.1:{down}/x?key=canary", "include_subpath": True}
    text = json.dumps({"pass_through_endpoints": [route], "ledger": "sqlite:///books.db"})
    async with program(tmp_path, text) as running:
        for _ in range(3):
            assert 502 == await post(f"{running.url}/down/v1/ocr?token=canary")
        lines = await running.logs(3)
        await running.says(rf"127\.0\.0\.1:{down}: connection refused; a call failed\.")
        assert 0 == await running.stop()
    assert [("upstream_unreachable", "connection refused")] * 3 == [(line["error"], line["why"]) for line in lines]
    said = "".join(running.said)
    assert f"127.0.0.1:{down}: connection refused; 2 more calls failed in the last minute." in said
    assert 2 == said.count("refused;")
    assert "canary" not in said
    with closing(sqlite3.connect(tmp_path / "books.db")) as ledger:
        assert [("connection refused",)] * 3 == ledger.execute("SELECT why FROM exchanges").fetchall()


AZURE = json.dumps({"error": {"code": "DeploymentNotFound", "message": "No."}}).encode()
ECHO = b'{"code": "canary-key-of-provider", "type": "Bearer"}'


@pytest.mark.process
async def test_the_providers_own_code_is_in_the_log(tmp_path: Path) -> None:
    """Of a 4xx, whatever its coding and framing: its bytes pass unchanged. A key that comes back is none."""
    zipped = gzip.compress(AZURE)
    coded = b"HTTP/1.1 404 No\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    responses = iter(
        [
            ok(AZURE, status=b"404 Not Found"),
            coded + chunk(zipped[:20]) + chunk(zipped[20:]) + chunk(b""),
            ok(ECHO, status=b"401 Unauthorized"),
            ok(AZURE, status=b"503 Service Unavailable"),
            ok(AZURE),
        ]
    )

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(next(responses))

    async with upstream(script) as above:
        route = {"path": "/azure", "target": f"http://127.0.0.1:{above.port}", "include_subpath": True}
        route["headers"] = {"Authorization": "Bearer canary-key-of-provider"}
        text = json.dumps({"pass_through_endpoints": [route], "ledger": "sqlite:///books.db"})
        async with program(tmp_path, text) as running:
            url = f"{running.url}/azure/v1/ocr"
            for count, (status, body) in enumerate([(404, AZURE), (404, zipped), (401, ECHO), (503, AZURE), (200, AZURE)], 1):
                async with aiohttp.ClientSession(auto_decompress=False) as session, session.post(url, data=b"{}") as response:
                    assert (status, body) == (response.status, await response.read())
                lines = await running.logs(count)
            assert 0 == await running.stop()
    codes = ["DeploymentNotFound", "DeploymentNotFound", None, None, None]
    assert codes == [line["upstream_code"] for line in lines]
    assert {("completed", None)} == {(line["outcome"], line["error"]) for line in lines}


@pytest.mark.process
async def test_no_code_of_the_log_repeats_what_was_sent(tmp_path: Path) -> None:
    """A client's own provider key, a key in the target's URL, in a query, in any field: a provider that sends it back."""
    keys = ("own.canary.key", "url.canary.key", "set.canary.key", "asked.canary", "field.canary", "via.canary.key")

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.request()
            at = int(received.line.split(b"/at/")[1].split(b"?")[0].split(b" ")[0])
            assert keys[at].encode() in received.raw_head
            body = json.dumps({"code": keys[at].upper()[:-1]}).encode()
            await peer.send(ok(body, status=b"400 Bad Request"))

    async with upstream(script) as above:
        route = {"path": "/a", "include_subpath": True, "forward_credentials": True, "forward_headers": True, "auth": False}
        route |= {"headers": {"x-set": "set.canary.key"}}
        route["target"] = f"http://127.0.0.1:{above.port}/?key=url.canary.key"
        text = json.dumps({"pass_through_endpoints": [route], "ledger": "none"})
        fields = {"Authorization": "Bearer own.canary.key", "X-Other": "field.canary", "x-pass-x-via": "via.canary.key"}
        async with program(tmp_path, text) as running:
            for at in range(len(keys)):
                assert 400 == await post(f"{running.url}/a/at/{at}?token=asked.canary", headers=fields)
            lines = await running.logs(len(keys))
            assert 0 == await running.stop()
    assert [None] * len(keys) == [line["upstream_code"] for line in lines]
