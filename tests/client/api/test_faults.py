"""Ways not to reach an API: its name, its port, its certificate, a proxy on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientConnectionError, ClientOSError

from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.faults import fault_of
from passthrough.client.api.files import delete
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import FastClock
from tests.harness.ports import free_port
from tests.harness.tls import served_by
from tests.harness.upstream import Peer, answering, ok, upstream

URL_HINT = "Check --base-url or PASSTHROUGH_BASE_URL, and the network."
SERVE_HINT = "Is the proxy running? Start it: passthrough serve. Or try it without: --sandbox."


@asynccontextmanager
async def connected(base: str, **limits: float) -> AsyncIterator[Connection]:
    """Connect to a base URL."""
    async with Connection(Endpoint.of(base, "k"), FastClock().timing(**limits)) as connection:
        yield connection


async def unreachable(base: str, **limits: float) -> tuple[str, str]:
    """Return why an API cannot be reached, and the hint."""
    async with connected(base, **limits) as connection:
        with pytest.raises(DocumentError) as caught:
            await delete(connection, "file-1")
    assert caught.value.ends_run
    return caught.value.why, caught.value.hint


async def test_a_port_at_which_nobody_listens() -> None:
    """On this machine the hint names the proxy's own command."""
    base = f"http://127.0.0.1:{free_port()}/mistral"
    assert (f"{base} cannot be reached: connection refused.", SERVE_HINT) == await unreachable(base)


@pytest.mark.parametrize("host", ["999.1.1.1", "1.2.3", "a\\b.invalid"])
async def test_a_name_that_is_none(host: str) -> None:
    """What looks like a URL, and is none for the network."""
    assert (f"http://{host} cannot be reached: its URL is not valid.", URL_HINT) == await unreachable(f"http://{host}")


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ClientOSError(104, "Connection reset by peer"), "connection reset by peer"),
        (ClientOSError(32, "Can not write request body for http://127.0.0.1/"), "the connection broke"),
        (ClientConnectionError("Failed to send bytes into the underlying connection"), "the connection broke"),
    ],
)
def test_a_connection_that_breaks_says_how_where_the_system_does(error: Exception, why: str) -> None:
    """Before the request had left it was not billed, after that it may have been."""
    endpoint = Endpoint.of("http://a.example", None)
    sending, waiting = (fault_of(error, is_sent=is_sent).error(endpoint, may_be_billed=True) for is_sent in (False, True))
    assert f"It could not be sent to its end: {why}; it was not billed." == sending.why
    assert f"There is no whole response: {why}; it may have been billed." == waiting.why


async def test_a_name_that_no_one_knows() -> None:
    """`.invalid` is no one's (RFC 6761 §6.4)."""
    why, hint = await unreachable("https://api.invalid/mistral?code=secret")
    assert ("https://api.invalid/mistral cannot be reached: its name is not known.", URL_HINT) == (why, hint)


async def test_certificates(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's authorities are asked, also where SSL_CERT_FILE names others; not those of aiohttp's own context."""
    tls = served_by(authority, "localhost")
    async with upstream(answering(ok()), ssl=tls) as raw:
        why, _ = await unreachable(f"https://localhost:{raw.port}")
        assert "its certificate is not accepted (unable to get local issuer certificate)" in why
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with connected(f"https://localhost:{raw.port}") as connection:
            await delete(connection, "file-1")
        assert [b"DELETE /v1/files/file-1 HTTP/1.1"] == [each.line for each in raw.received]
        why, _ = await unreachable(f"https://127.0.0.1:{raw.port}")
        assert "its certificate is not accepted (IP address mismatch" in why


async def test_a_port_without_tls() -> None:
    """`https://` to a plain port."""

    async def speaks_plainly(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(ok(status=b"400 Bad Request"))

    async with upstream(speaks_plainly) as raw:
        base = f"https://localhost:{raw.port}"
        why, hint = await unreachable(base)
        assert f"{base} cannot be reached: no TLS is spoken there." == why
        assert hint.startswith("Write http:// instead of https://")


async def test_a_port_that_is_slow_to_connect() -> None:
    """The TLS handshake counts, too."""

    async def says_nothing(peer: Peer) -> None:
        await peer.ended()

    async with upstream(says_nothing) as raw:
        base = f"https://localhost:{raw.port}"
        assert f"{base} cannot be reached: no connection in time." == (await unreachable(base, connect_s=0.1))[0]


async def test_a_proxy_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is asked for what is not on this machine, with its own credentials; NO_PROXY is heeded."""
    for name in ("NO_PROXY", "no_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with upstream(answering(ok())) as raw:
        monkeypatch.setenv("http_proxy", f"user:word@127.0.0.1:{raw.port}")
        async with connected("http://api.invalid/mistral") as connection:
            await delete(connection, "file-1")
        received = raw.received[0]
        assert b"DELETE http://api.invalid/mistral/v1/files/file-1 HTTP/1.1" == received.line
        assert ([b"Basic dXNlcjp3b3Jk"], [b"Bearer k"]) == (
            received.values(b"proxy-authorization"),
            received.values(b"authorization"),
        )
        monkeypatch.setenv("no_proxy", "api.invalid")
        assert "its name is not known" in (await unreachable("http://api.invalid"))[0]
        assert 1 == raw.connections


async def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tunnel to an API with TLS is refused, or the proxy is not there."""
    monkeypatch.delenv("no_proxy", raising=False)

    async def refuses(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(status=b"407 Proxy Authentication Required"))

    async with upstream(refuses) as raw:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{raw.port}")
        why, _ = await unreachable("https://api.invalid")
        assert "https://api.invalid cannot be reached: the HTTP proxy on the way refused (407)." == why
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")
    why, _ = await unreachable("https://api.invalid")
    assert "https://api.invalid cannot be reached: the HTTP proxy on the way: connection refused." == why
