"""The admin port: health for orchestrators, on loopback for loopback's names only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from street import once

from passthrough import __version__
from passthrough.admin.app import app, is_loopback
from passthrough.admin.health import Health, Phase

Asking = TestClient[Request, Application]


@dataclass
class Books:
    """A part of the house that may be in trouble."""

    trouble: str | None = None
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health({"ledger": lambda: self.trouble}, Phase.READY)


@asynccontextmanager
async def asking(health: Health, *, on_loopback: bool = True) -> AsyncIterator[Asking]:
    """Serve the admin application on a real socket."""
    async with TestClient(TestServer(app(health, on_loopback=on_loopback))) as client:
        yield client


async def said(client: Asking, path: str) -> tuple[int, dict[str, object]]:
    """Return status and JSON of one GET."""
    async with client.get(path) as answer:
        assert "application/json" == answer.content_type
        return answer.status, await answer.json()


@pytest.mark.parametrize("path", ["/healthz", "/health/liveliness"])
@pytest.mark.parametrize("phase", list(Phase))
async def test_alive(path: str, phase: Phase) -> None:
    """Whoever answers is alive, in every phase: a restart would mend nothing."""
    async with asking(Health(phase=phase)) as client:
        assert (200, {"status": "ok", "version": __version__}) == await said(client, path)


@pytest.mark.parametrize("path", ["/readyz", "/health/readiness"])
@pytest.mark.parametrize(
    ("phase", "trouble", "status", "word"),
    [
        (Phase.STARTING, None, 503, "starting"),
        (Phase.READY, None, 200, "ok"),
        (Phase.READY, "the disk is full", 200, "degraded"),
        (Phase.DRAINING, None, 503, "draining"),
        (Phase.DRAINING, "the disk is full", 503, "draining"),
    ],
)
async def test_ready(path: str, phase: Phase, trouble: str | None, status: int, word: str) -> None:
    """503 only while starting or draining; a trouble is said beside 200, for it does not stop the road."""
    books = Books(trouble)
    books.health.phase = phase
    async with asking(books.health) as client:
        degraded = {} if trouble is None else {"ledger": trouble}
        assert (status, {"status": word, "degraded": degraded, "version": __version__}) == await said(client, path)


async def test_a_trouble_that_ends_is_said_no_more() -> None:
    """Every answer asks anew."""
    books = Books("locked")
    async with asking(books.health) as client:
        assert "degraded" == (await said(client, "/readyz"))[1]["status"]
        books.trouble = None
        assert "ok" == (await said(client, "/readyz"))[1]["status"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/mistral/v1/ocr", 404),
        ("GET", "/healthz/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/readyz", 405),
        ("HEAD", "/readyz", 200),
    ],
)
async def test_what_there_is_not(method: str, path: str, status: int) -> None:
    """Unknown paths are 404, other methods 405."""
    async with asking(Books().health) as client, client.request(method, path) as answer:
        assert status == answer.status


HOSTS = {
    "localhost": 200,
    "LOCALHOST:4001": 200,
    "localhost.:4001": 200,
    "127.0.0.1": 200,
    "127.0.0.1:4001": 200,
    "127.9.9.9": 200,
    "[::1]": 200,
    "[::1]:4001": 200,
    "evil.example": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.nip.io": 421,
    "evil.example:127.0.0.1": 421,
    "localhost@evil.example": 421,
    "10.0.0.1": 421,
    "[::2]": 421,
    "::1": 421,
    "0.0.0.0": 421,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_a_foreign_name_gets_nothing(host: str) -> None:
    """On loopback only loopback's names are answered, on every path: a page whose name was rebound learns nothing."""
    async with asking(Books().health) as client:
        for path, status in (("/readyz", 200), ("/healthz", 200), ("/nothing", 404)):
            async with client.get(path, headers={"Host": host}) as answer:
                assert (status if HOSTS[host] == 200 else 421) == answer.status
                assert HOSTS[host] == 200 or __version__ not in await answer.text()


async def test_no_host_is_a_foreign_name() -> None:
    """HTTP/1.0 may leave Host out: that is nobody's name."""
    async with asking(Books().health) as client:
        assert client.port is not None
        assert (await once(client.port, b"GET /readyz HTTP/1.0\r\n\r\n")).split(b" ")[1] == b"421"


async def test_off_loopback_every_name_is_answered() -> None:
    """An orchestrator asks by the address of the day: no name is foreign where the port is open anyway."""
    async with (
        asking(Books().health, on_loopback=False) as client,
        client.get("/readyz", headers={"Host": "10.1.2.3:4001"}) as answer,
    ):
        assert 200 == answer.status


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Addresses and the one name that are this machine's own."""
    assert expected == is_loopback(host)
