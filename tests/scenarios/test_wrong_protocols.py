"""TLS on the plain port, plain HTTP on the TLS port, HTTP/2 without TLS: client and operator are told which it is."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
import uvloop

from passthrough.errors import Reason
from passthrough.proxy.auth import ClientKey
from tests.harness.client import asking, client
from tests.harness.process import program
from tests.harness.proxy import road, route_to
from tests.harness.tls import served_by
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ANN = ClientKey("ann", sha256(b"key-of-ann").digest())
KEY = b"Authorization: Bearer key-of-ann"
LOOPS = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def client_hello() -> bytes:
    """Return the first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


STEPS = pytest.mark.parametrize("step", [0, 1, 2, 5, 100])


def stepwise(sent: bytes, step: int) -> list[bytes]:
    """Return bytes in pieces of this size; 0: whole."""
    return [sent[at : at + (step or len(sent))] for at in range(0, len(sent), step or len(sent))]


@STEPS
async def test_tls_on_the_plain_port(step: int) -> None:
    """Whole and in pieces: a response of ours that says so, and why in the log, with no byte of what came."""
    async with road(route_to(1)) as house, client(house.port) as one:
        await one.send_apart(*stepwise(client_hello(), step))
        head, body = await one.answer()
        (exchange,) = await house.booked()
    said = "What came is TLS, and this port speaks plain HTTP: the URL must begin with http://."
    assert (b"400", said) == (head[9:12], json.loads(body)["message"])
    assert (Reason.TLS_ON_PLAIN, False, 400, "", "") == (
        exchange.why,
        exchange.admitted,
        exchange.status,
        exchange.method,
        exchange.path,
    )
    assert str is type(exchange.why)


def frames_of(sent: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return HTTP/2's frames: their type, flags, stream and payload."""
    found = []
    while sent:
        size, (kind, flags, stream) = int.from_bytes(sent[:3]), struct.unpack(">BBI", sent[3:9])
        found.append((kind, flags, stream, sent[9 : 9 + size]))
        assert size == len(found[-1][3])
        sent = sent[9 + size :]
    return found


@STEPS
async def test_http2_without_tls(step: int) -> None:
    """The refusal is one whole response in HTTP/2, for its client reads no other; then the connection ends."""
    async with road(route_to(1)) as house, client(house.port) as one:
        await one.send_apart(*stepwise(PREFACE, step))
        settings, ack, (kind, flags, stream, head), data, away = frames_of(await one.rest())
        (exchange,) = await house.booked()
    assert ((4, 0, 0, b""), (4, 1, 0, b"")) == (settings, ack)
    assert (1, 4, 1, True, True) == (kind, flags, stream, b"\x08\x03505" in head, b"version_not_supported" in head)
    assert (0, 1, 1) == data[:3]
    said = "HTTP/2 without TLS (prior knowledge) is not spoken here: send HTTP/1.1."
    assert (said, 505) == (json.loads(data[3])["message"], json.loads(data[3])["raw_status_code"])
    assert (7, 0, 0, b"\x00\x00\x00\x01\x00\x00\x00\x0d") == away
    assert (Reason.HTTP2, 505, "PRI", "*") == (exchange.why, exchange.status, exchange.method, exchange.path)


async def encrypted(port: int, authority: trustme.CA, sent: list[bytes]) -> bytes:
    """Return all that comes back for what is sent within TLS."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with client(port, ssl=trusting, server_hostname="localhost") as one:
        await one.send_apart(*sent)
        return await one.rest()


@LOOPS
@pytest.mark.parametrize("step", [0, 1, 5])
def test_another_protocol_within_tls(make_loop: Callable[[], asyncio.AbstractEventLoop], step: int) -> None:
    """The port that speaks TLS does not say that it speaks plain HTTP, nor that TLS is missing."""

    async def talk() -> None:
        authority = trustme.CA()
        async with road(route_to(1), tls=served_by(authority, "localhost")) as house:
            twice = await encrypted(house.port, authority, stepwise(client_hello()[:60], step))
            frames = frames_of(await encrypted(house.port, authority, stepwise(PREFACE, step)))
            exchanges = await house.booked(2)
        said = json.loads(twice.partition(b"\r\n\r\n")[2])["message"]
        assert "What came within TLS is TLS once more: only one of the two may encrypt." == said
        expected = "HTTP/2 is not spoken here, and no ALPN chose it: send HTTP/1.1."
        assert (0, 1, 1, expected) == (*frames[3][:3], json.loads(frames[3][3])["message"])
        assert [(Reason.TLS_TWICE, 400), (Reason.HTTP2_IN_TLS, 505)] == [(each.why, each.status) for each in exchanges]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


@STEPS
async def test_http2_in_clear_on_the_tls_port(step: int) -> None:
    """It is refused in HTTP/2, which its client reads: this port speaks TLS."""
    async with road(route_to(1), tls=served_by(trustme.CA(), "localhost")) as house, client(house.port) as one:
        await one.send_apart(*stepwise(PREFACE, step))
        data = frames_of(await one.rest())[3]
        (exchange,) = await house.booked()
    said = "This port speaks TLS, and what came is plain HTTP: the URL must begin with https://."
    assert (0, 1, 1, said) == (*data[:3], json.loads(data[3])["message"])
    assert (Reason.PLAIN_ON_TLS, 400, "PRI", "*") == (exchange.why, exchange.status, exchange.method, exchange.path)


@LOOPS
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_plain_request_in_pieces_on_the_tls_port(
    make_loop: Callable[[], asyncio.AbstractEventLoop], before: bytes, step: int
) -> None:
    """As many bytes are awaited as it takes to tell; TLS in pieces is TLS."""

    async def talk() -> None:
        authority = trustme.CA()
        async with road(route_to(1), tls=served_by(authority, "localhost")) as house:
            async with client(house.port) as one:
                await one.send_apart(*stepwise(before + b"POST /mistral/v1/ocr HTTP/1.1", step))
                head, body = await one.answer()
            (exchange,) = await house.booked()
            await until(lambda: house.listener.open == 0)
        assert (b"400", True) == (head[9:12], "This port speaks TLS" in json.loads(body)["message"])
        assert (Reason.PLAIN_ON_TLS, "POST") == (exchange.why, exchange.method)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


@LOOPS
@pytest.mark.parametrize(
    ("sent", "method", "path", "name"),
    [
        (asking(b"GET /mistral/v1/models?key=canary HTTP/1.1"), "GET", "/mistral/v1/models", None),
        (asking(b"POST /v1/ocr HTTP/1.1", KEY, body=b"x" * 100_000), "POST", "/v1/ocr", "ann"),
        (b"GET /canary", "GET", "/canary", None),
        (asking(b"HEAD / HTTP/1.1"), "HEAD", "/", None),
        (b"POST sk-canary HTTP/1.1\r\n\r\n", "POST", "", None),
    ],
)
def test_a_plain_request_on_the_tls_port(
    make_loop: Callable[[], asyncio.AbstractEventLoop], sent: bytes, method: str, path: str, name: str | None
) -> None:
    """A plain 400, and the end of the connection; the log knows whose key went in clear. Nothing is left over."""
    said: list[object] = []

    async def talk() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        async with road(route_to(1), clients=(ANN,), tls=served_by(trustme.CA(), "localhost")) as house:
            async with client(house.port) as one:
                await one.send(sent)
                head, body = await one.answer(method)
                assert b"" == await one.rest()
            (exchange,) = await house.booked()
            await until(lambda: house.listener.open == 0)
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nConnection: close\r\n" in head
        expected = "This port speaks TLS, and what came is plain HTTP: the URL must begin with https://."
        assert (method == "HEAD") or expected == json.loads(body)["message"]
        assert (method, path, name) == (exchange.method, exchange.path, exchange.client)
        assert (Reason.PLAIN_ON_TLS, "bad_request", 400) == (exchange.why, exchange.error, exchange.status)
        assert b"canary" not in head + body

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())
    assert [] == said


@pytest.mark.parametrize(
    "sent", [b"\x80\x2e\x01\x03\x01", b"\r\n" * 50, b"G" * 33, b"\x16", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 50, b"G"]
)
async def test_what_is_no_request_on_the_tls_port_gets_no_response(sent: bytes) -> None:
    """It is a handshake that failed, as ever, and no exchange."""
    async with road(route_to(1), tls=served_by(trustme.CA(), "localhost")) as house:
        async with client(house.port) as one:
            await one.send(sent)
            one.writer.write_eof()
            await one.broken()
        await until(lambda: house.listener.open == 0)
        assert [] == house.exchanges


async def test_a_client_that_goes_on_sending_in_clear_is_closed() -> None:
    """Its connection counts until then, and gives way to others."""
    async with upstream(answering(ok())) as above:
        authority = trustme.CA()
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with road(route_to(above.port), tls=served_by(authority, "localhost"), max_connections=2) as house:
            async with client(house.port) as one, client(house.port) as other:
                for each in (one, other):
                    await each.send(asking(b"POST / HTTP/1.1", b"Content-Length: 9000000"))
                await house.booked(2)
                async with client(house.port, ssl=trusting, server_hostname="localhost") as third:
                    await third.send(asking())
                    assert (await third.answer())[0].startswith(b"HTTP/1.1 200")
            await until(lambda: house.listener.open == 0)


@pytest.mark.process
async def test_the_operator_is_told(tmp_path: Path) -> None:
    """Once, however often it comes, with what to do; the log has each."""
    route = {"path": "/a", "target": "http://127.0.0.1:9", "include_subpath": True}
    async with program(tmp_path, json.dumps({"pass_through_endpoints": [route], "ledger": "none"})) as running:
        for sent in (client_hello(), client_hello(), PREFACE):
            async with client(running.port) as one:
                await one.send(sent)
                await one.rest()
        lines = await running.logs(3)
        await running.says("TLS came to the plain port")
        await running.says("HTTP/2 without TLS")
        assert 0 == await running.stop()
    assert [Reason.TLS_ON_PLAIN, Reason.TLS_ON_PLAIN, Reason.HTTP2] == [line["why"] for line in lines]
    said = "".join(running.said)
    assert (1, 1) == (said.count("TLS came to the plain port"), said.count("A client spoke HTTP/2 without TLS"))
    assert "TLS on the plain port: 1 more request in the last minute." in said


async def curl(*arguments: str) -> bytes:
    """Return what curl writes."""
    flags = ("-sS", "--noproxy", "*", "--max-time", "20")
    process = await asyncio.create_subprocess_exec("curl", *flags, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_what_curl_shows(tmp_path: Path) -> None:
    """Where a person calls http:// on the TLS port, or in HTTP/2, the words are on the screen."""
    made = trustme.CA().issue_cert("localhost")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    route = {"path": "/a", "target": "http://127.0.0.1:9", "include_subpath": True}
    text = json.dumps({"pass_through_endpoints": [route], "ledger": "none"})
    async with program(tmp_path, text, "--tls-cert", "server.pem", "--tls-key", "server.pem") as running:
        out = await curl(f"http://localhost:{running.port}/a")
        assert "This port speaks TLS" in json.loads(out)["message"]
        assert 0 == await running.stop()
    if b"HTTP2" not in await curl("--version"):
        return
    async with program(tmp_path, text) as running:
        out = await curl("--include", "--http2-prior-knowledge", f"http://127.0.0.1:{running.port}/a")
        head, _, body = out.replace(b"\r\n", b"\n").partition(b"\n\n")
        assert [b"HTTP/2 505 ", b"content-type: application/json", b"cache-control: no-store"] == head.splitlines()[:3]
        assert "send HTTP/1.1" in json.loads(body)["message"]
        assert 0 == await running.stop()
