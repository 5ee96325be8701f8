"""What calls of the client's `api` are tested with: an API that acts in turn, a connection to it, a clock that none waits for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.pauses import Timing
from tests.harness.upstream import Peer, RawUpstream, Script, ok, upstream

Act = Callable[[Peer], Awaitable[None]]
"""What an API does on one connection."""


@dataclass(slots=True)
class FastClock:
    """A clock that goes on when someone sleeps; `waits` are the sleeps in seconds."""

    now_s: float = 1_800_000_000.0
    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        """Let the time pass, and others have their turn."""
        self.waits.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)

    def timing(self, **limits: float) -> Timing:
        """Return the client's view of it; chance is always 0."""
        timing = Timing(lambda: self.now_s, lambda: self.now_s, self.sleep, lambda: 0.0)
        return replace(timing, **limits)


@dataclass(slots=True)
class Api:
    """A raw API, a connection to it, and what the client heard of waits."""

    raw: RawUpstream
    connection: Connection
    clock: FastClock
    heard: list[tuple[float, str]] = field(default_factory=list)

    def on_wait(self, seconds: float, why: str) -> None:
        """Hear of a wait."""
        self.heard.append((seconds, why))


@asynccontextmanager
async def api(*acts: Act, key: str | None = "client-key", path: str = "", **limits: float) -> AsyncIterator[Api]:
    """Run an API that does one of `acts` on each connection, the last one on all further ones."""
    clock = FastClock()
    async with upstream(_in_turn(acts)) as raw:
        endpoint = Endpoint.of(f"http://127.0.0.1:{raw.port}{path}", key)
        async with Connection(endpoint, clock.timing(**limits)) as connection:
            yield Api(raw, connection, clock)


def _in_turn(acts: tuple[Act, ...]) -> Script:
    async def script(peer: Peer) -> None:
        await acts[min(peer.number, len(acts)) - 1](peer)

    return script


def responds(body: bytes = b"{}", *fields: bytes, status: bytes = b"200 OK") -> Act:
    """Read a request, and respond."""
    return sends(ok(body, *fields, status=status))


def says(status: int, value: Any, *fields: bytes) -> Act:
    """Read a request, and respond with JSON."""
    return responds(json.dumps(value).encode(), b"Content-Type: application/json", *fields, status=b"%d Said" % status)


def sends(raw: bytes) -> Act:
    """Read a request, send these bytes, and close the connection."""

    async def act(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)

    return act


async def closes(peer: Peer) -> None:
    """Read a request, and close the connection."""
    await peer.request()


async def resets(peer: Peer) -> None:
    """Read a request, and reset the connection."""
    await peer.request()
    peer.reset()


async def resets_early(peer: Peer) -> None:
    """Read a request's head, and reset the connection."""
    await peer.head()
    peer.reset()


async def is_silent(peer: Peer) -> None:
    """Read a request, and say nothing."""
    await peer.request()
    await peer.ended()


def responds_early(body: bytes, *fields: bytes, status: bytes) -> Act:
    """Respond to a request's head, and read the rest of it away."""

    async def act(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(body, b"Connection: close", *fields, status=status))
        peer.writer.write_eof()
        await peer.ended()

    return act
