"""Downloads over loopback, of documents whose hosts have names that the test resolves."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from passthrough.errors import Refusal
from passthrough.proxy.documents.document import Document, DownloadLimits
from passthrough.proxy.documents.download import Documents
from passthrough.proxy.documents.url_rules import UrlRules
from passthrough.proxy.routes import Target
from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.pool import ConnectionPool
from passthrough.proxy.upstream.resolver import AddressInfo
from tests.harness.waiting import WAIT_S

ANY = UrlRules(validated=False)
_LIMITS = DownloadLimits()


@dataclass
class Names:
    """A resolver: each name's look-ups give one list of addresses after the other, the last one again and again."""

    answers: Mapping[str, Sequence[Sequence[str]]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: None, **options: Any) -> list[Any]:
        """Return what `getaddrinfo` does."""
        self.asked.append(host)
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = self.answers[host][min(self.asked.count(host), len(self.answers[host])) - 1]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (at, 0, 0, 0))
            if ":" in at
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, 0))
            for at in found
        ]


@dataclass
class Hanging:
    """A resolver whose look-ups hang until the test lets them go; then each name is loopback's."""

    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def __call__(self, host: str, port: None, **options: Any) -> list[Any]:
        """Return what `getaddrinfo` does."""
        self.asked.append(host)
        assert self.go_on.wait(WAIT_S)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


OWN_ADDRESS = "93.184.216.40"
"""A public address that is this machine's own, in the network of `Internet`."""


class Internet(ConnectionPool):
    """A pool of a network whose public addresses are all on loopback; it knows to which addresses connections were made."""

    reached: list[list[str]]

    async def connect_at(self, target: Target, addresses: Sequence[AddressInfo], *, elsewhere: bool = False) -> Connection:
        """Connect to the same port of loopback."""
        self.reached.append([each[4][0] for each in addresses])
        at: list[AddressInfo] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", target.port))]
        is_own = any(each[4][0] == OWN_ADDRESS for each in addresses)
        return await super().connect_at(target, at, elsewhere=elsewhere and is_own)


@asynccontextmanager
async def documents(
    rules: UrlRules = ANY,
    look_up: Callable[..., list[Any]] = socket.getaddrinfo,
    *,
    pool: type[ConnectionPool] = ConnectionPool,
    limits: DownloadLimits = _LIMITS,
    ca_file: str | None = None,
) -> AsyncIterator[Documents]:
    """Run downloads."""
    connections = pool()
    if isinstance(connections, Internet):
        connections.reached = []
    try:
        yield Documents(rules, connections, look_up=look_up, limits=limits, ca_file=ca_file)
    finally:
        connections.close()


async def fetched(of: Documents, url: str, deadline: float | None = None) -> tuple[str, int | None, bytes]:
    """Return a document's type, length and bytes."""
    async with asyncio.timeout(WAIT_S):
        document = await of.open(url, deadline)
        return await whole(document)


async def whole(document: Document) -> tuple[str, int | None, bytes]:
    """Return a document's type, length and bytes; close it, also where it fails."""
    try:
        return document.media_type, document.length, b"".join([piece async for piece in document.pieces()])
    finally:
        document.close()


async def refusal_of(of: Documents, url: str, deadline: float | None = None) -> tuple[str, str]:
    """Return the code and the message with which a download fails, at whatever moment."""
    try:
        found = await fetched(of, url, deadline)
    except Refusal as refusal:
        return refusal.kind.code, refusal.message
    raise AssertionError(f"It came: {found}")


def counted(of: Documents) -> dict[str, int]:
    """Return the outcomes that were counted."""
    return {outcome: count for outcome, count in of.counts.outcomes.items() if count}
