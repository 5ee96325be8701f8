"""What only a page of another site sends is refused where no key is asked for, on a port of loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from passthrough.proxy.auth import Authenticator, ClientKey
from passthrough.proxy.origins import PageGuard
from passthrough.proxy.relay import Rules
from passthrough.proxy.routes import RouteTable
from tests.harness.client import client
from tests.harness.process import program
from tests.harness.proxy import Road, road, route_to
from tests.harness.upstream import RawUpstream, answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.wire

KEY = b"Authorization: Bearer key-of-ann"
ANN = ClientKey("ann", sha256(b"key-of-ann").digest())
LOCAL = b"Host: 127.0.0.1:4000"
POST = b"POST /ocr HTTP/1.1"


@asynccontextmanager
async def guarded(*clients: ClientKey, auth: bool = True) -> AsyncIterator[tuple[Road, RawUpstream]]:
    """Run the proxy as it is on a loopback port where pages of https://app.example may call."""
    async with upstream(answering(ok(b"{}"))) as raw, road() as house:
        routes = RouteTable([route_to(raw.port, auth=auth)])
        house.relay.rules = Rules(routes, Authenticator(clients), guard=PageGuard([b"https://app.example"]))
        yield house, raw


async def asked(house: Road, line: bytes, *fields: bytes) -> tuple[int, str]:
    """Send a request with these lines alone; return the status and the code of our own response."""
    async with client(house.port) as raw:
        more = (b"Content-Length: 2",) if line.startswith(b"POST") else ()
        await raw.send(b"\r\n".join([line, *fields, *more]) + b"\r\n\r\n" + (b"{}" if more else b""))
        head, _ = await raw.answer()
    code = [each.partition(b": ")[2] for each in head.split(b"\r\n") if each.startswith(b"X-Passthrough-Error")]
    return int(head[9:12]), code[0].decode() if code else ""


FOREIGN = (403, "foreign_origin")
ELSEWHERE = (421, "misdirected")
SERVED = (200, "")

CASES: dict[str, tuple[tuple[int, str], tuple[bytes, ...]]] = {
    "a program": (SERVED, (POST, LOCAL)),
    "by name": (SERVED, (POST, b"Host: localhost:4000")),
    "by name, in capitals": (SERVED, (POST, b"Host: LOCALHOST:4000")),
    "by name, with the root's dot": (SERVED, (POST, b"Host: localhost.:4000")),
    "by a name below localhost": (SERVED, (POST, b"Host: app.localhost")),
    "by another address of loopback": (SERVED, (POST, b"Host: 127.0.0.2")),
    "by the address of IPv6": (SERVED, (POST, b"Host: [::1]:4000")),
    "by IPv4 in IPv6": (SERVED, (POST, b"Host: [::ffff:127.0.0.1]:4000")),
    "through a tunnel's port": (SERVED, (POST, b"Host: localhost:65535")),
    "HTTP/1.0 without Host": (SERVED, (b"POST /ocr HTTP/1.0",)),
    "HTTP/1.0 with Host": (ELSEWHERE, (b"POST /ocr HTTP/1.0", b"Host: evil.example")),
    "a name that was rebound": (ELSEWHERE, (POST, b"Host: evil.example")),
    "a name that was rebound, with the port": (ELSEWHERE, (POST, b"Host: evil.example:4000")),
    "a rebound page's own request": (ELSEWHERE, (POST, b"Host: evil.example", b"Sec-Fetch-Site: same-origin")),
    "a name that only begins so": (ELSEWHERE, (POST, b"Host: localhost.evil.example")),
    "an address in a name": (ELSEWHERE, (POST, b"Host: 127.0.0.1.nip.io")),
    "all addresses": (ELSEWHERE, (POST, b"Host: 0.0.0.0:4000")),
    "all addresses of IPv6": (ELSEWHERE, (POST, b"Host: [::]:4000")),
    "an address of the network": (ELSEWHERE, (POST, b"Host: 192.168.1.7:4000")),
    "a container's name of this machine": (ELSEWHERE, (POST, b"Host: host.docker.internal:4000")),
    "absolute form": (SERVED, (b"POST http://localhost:4000/ocr HTTP/1.1", LOCAL)),
    "absolute form of another name": (ELSEWHERE, (b"POST http://evil.example/ocr HTTP/1.1", LOCAL)),
    "absolute form in capitals": (ELSEWHERE, (b"POST HTTP://evil.example?x HTTP/1.1", LOCAL)),
    "absolute form, another Host": (ELSEWHERE, (b"POST http://localhost/ocr HTTP/1.1", b"Host: evil.example")),
    "absolute form in HTTP/1.0": (ELSEWHERE, (b"POST http://evil.example/ocr HTTP/1.0",)),
    "a URL in the query": (SERVED, (b"POST /ocr?u=http://evil.example/ HTTP/1.1", LOCAL)),
    "a page of another site": (FOREIGN, (POST, LOCAL, b"Origin: https://evil.example")),
    "a page of another site, text/plain": (
        FOREIGN,
        (POST, LOCAL, b"Origin: https://evil.example", b"Content-Type: text/plain", b"Sec-Fetch-Site: cross-site"),
    ),
    "a sandboxed frame": (FOREIGN, (POST, LOCAL, b"Origin: null")),
    "a page with a key's name": (FOREIGN, (POST, LOCAL, KEY, b"Origin: https://evil.example")),
    "a file": (FOREIGN, (POST, LOCAL, b"Origin: file://")),
    "an extension": (FOREIGN, (POST, LOCAL, b"Origin: chrome-extension://abcdef")),
    "a page whose name begins so": (FOREIGN, (POST, LOCAL, b"Origin: http://localhost.evil.example")),
    "a page with user and host": (FOREIGN, (POST, LOCAL, b"Origin: http://localhost@evil.example")),
    "a page of all addresses": (FOREIGN, (POST, LOCAL, b"Origin: http://0.0.0.0:8000")),
    "two origins": (FOREIGN, (POST, LOCAL, b"Origin: http://localhost", b"Origin: https://evil.example")),
    "an origin that is none": (FOREIGN, (POST, LOCAL, b"Origin: ")),
    "a list of origins": (FOREIGN, (POST, LOCAL, b"Origin: http://localhost https://evil.example")),
    "a preflight of another site": (
        FOREIGN,
        (b"OPTIONS /ocr HTTP/1.1", LOCAL, b"Origin: https://evil.example", b"Access-Control-Request-Method: POST"),
    ),
    "a socket of another site": (
        FOREIGN,
        (b"GET /live HTTP/1.1", LOCAL, b"Upgrade: websocket", b"Connection: Upgrade", b"Origin: https://evil.example"),
    ),
    "an image of another site": (FOREIGN, (b"GET /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: cross-site")),
    "a link of another site": (
        FOREIGN,
        (b"GET /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: Cross-Site", b"Sec-Fetch-Mode: navigate"),
    ),
    "HEAD of another site": (FOREIGN, (b"HEAD /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: cross-site")),
    "a page of loopback": (SERVED, (POST, LOCAL, b"Origin: http://localhost:3000", b"Sec-Fetch-Site: cross-site")),
    "a page of loopback's address": (SERVED, (POST, LOCAL, b"Origin: http://127.0.0.1:8080")),
    "a page of loopback with TLS": (SERVED, (POST, LOCAL, b"Origin: https://localhost")),
    "a page of IPv6's loopback": (SERVED, (POST, LOCAL, b"Origin: http://[::1]:5173")),
    "a page that may call": (SERVED, (POST, LOCAL, b"Origin: https://app.example", b"Sec-Fetch-Site: cross-site")),
    "such a page on another port": (FOREIGN, (POST, LOCAL, b"Origin: https://app.example:8443")),
    "such a page without TLS": (FOREIGN, (POST, LOCAL, b"Origin: http://app.example")),
    "such a page at another name": (ELSEWHERE, (POST, b"Host: evil.example", b"Origin: https://app.example")),
    "typed in by the user": (SERVED, (b"GET /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: none")),
    "a page of the same origin": (SERVED, (b"GET /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: same-origin")),
    "a page on another port": (SERVED, (b"GET /files HTTP/1.1", LOCAL, b"Sec-Fetch-Site: same-site")),
}


@pytest.mark.parametrize("name", CASES)
async def test_without_keys(name: str) -> None:
    """Only what programs, and pages that may call, send goes up; what is refused leaves nothing at the target."""
    expected, (line, *fields) = CASES[name]
    async with guarded() as (house, raw):
        if line.startswith(b"HEAD"):
            async with client(house.port) as head:
                await head.send(b"\r\n".join([line, *fields]) + b"\r\n\r\n")
                assert b"HTTP/1.1 %d " % expected[0] == (await head.head())[:13]
        else:
            assert expected == await asked(house, line, *fields)
        assert (expected == SERVED) == bool(raw.received)
        (exchange,) = await house.booked()
        assert (expected[1] or None, "/") == (exchange.error, exchange.terms and exchange.terms.route)


@pytest.mark.parametrize("name", CASES)
async def test_a_route_without_a_key(name: str) -> None:
    """Where others have keys, a route that asks for none is minded as if there were no keys."""
    expected, (line, *fields) = CASES[name]
    if not line.startswith(b"HEAD"):
        async with guarded(ANN, auth=False) as (house, _):
            assert expected == await asked(house, line, *fields)


@pytest.mark.parametrize("name", CASES)
async def test_with_keys(name: str) -> None:
    """A key is what no page has: with it every name and every origin is served, without it nothing is."""
    _, (line, *fields) = CASES[name]
    if not line.startswith(b"HEAD"):
        bare = [each for each in fields if each != KEY]
        async with guarded(ANN) as (house, _):
            assert SERVED == await asked(house, line, *bare, KEY)
            assert (401, "invalid_key") == await asked(house, line, *bare)


@pytest.mark.parametrize("name", CASES)
async def test_behind_another_request(name: str) -> None:
    """What is remembered of a connection's last head opens nothing: a head that differs is judged by itself."""
    expected, (line, *fields) = CASES[name]
    usual = b"POST /ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    sent = b"\r\n".join([line, *fields, b"Content-Length: 0"]) + b"\r\n\r\n"
    async with guarded() as (house, _), client(house.port) as raw:
        for request, status in ((usual, 200), (usual, 200), (sent, expected[0])):
            await raw.send(request)
            head, _ = await raw.answer("HEAD" if request.startswith(b"HEAD") else "GET")
            assert b"HTTP/1.1 %d " % status == head[:13]
        if b"Connection: close" not in head and b"HTTP/1.0" not in line:
            await raw.send(usual)
            assert (await raw.answer())[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.process
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_reload_puts_it_in_force(tmp_path: Path, workers: str) -> None:
    """It begins when the last key goes and ends with `allow_anonymous`: by where the program listens, in each worker."""

    async def foreign(port: int) -> int:
        async with client(port) as raw:
            await raw.send(b"GET /m HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            return int((await raw.answer())[0][9:12])

    async with upstream(answering(ok(b"{}"))) as raw:
        routes = f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}'}}]\nledger: none\n"
        async with program(tmp_path, routes + "master_key: 0123456789abcdef\n", "--workers", workers) as running:
            assert {401} == {await foreign(running.port) for _ in range(8)}
            for number, (more, expected) in enumerate((("", 421), ("allow_anonymous: true\n", 200), ("", 421)), 1):
                (tmp_path / "routes.yaml").write_text(f"{routes}{more}# {number}\n")
                await running.says("(?s)" + ".*".join(["Reloaded"] * number))
                for _ in range(int(workers) * 4):
                    await eventually(lambda: foreign(running.port), lambda status: status == expected)  # noqa: B023 - awaited at once
