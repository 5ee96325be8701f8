"""The street that the tests stand on: raw upstreams that record what reached them, the real road, raw clients."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from passthrough.exchange import BOUNDLESS, Allowance, Exchange, Terms
from passthrough.meter.usage import Plan, Usage
from passthrough.proxy.auth import Client, Gate
from passthrough.proxy.listener import Listener
from passthrough.proxy.relay import Relay, Rules
from passthrough.proxy.routes import Route, RouteTable, Target
from passthrough.proxy.settle import Settling
from passthrough.proxy.upstream.pool import Upstream

WAIT_S = 20.0
"""How long a test waits for what must happen; only a failure ever takes so long."""


@dataclass(slots=True)
class Received:
    """One request as it reached an upstream: the head's lines, and the body without its framing."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    connection: int
    raw_head: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the field called `name`."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


@dataclass(slots=True)
class Peer:
    """One connection to a raw upstream, for its script to speak on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    upstream: RawUpstream

    async def head(self) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
        """Read one request head, strictly; raise EOFError at the end of the connection."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.upstream.broken.append(error.partial)
            raise EOFError from None
        line, *rest = raw[:-4].split(b"\r\n")
        assert re.fullmatch(rb"[A-Z]+ \S+ HTTP/1\.1", line), line
        fields = []
        for each in rest:
            match = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\r\n\x00]*)", each)
            assert match, each
            fields.append((match[1], match[2]))
        return line, fields, raw

    async def request(self) -> Received:
        """Read one whole request, strictly, and record it; a body that breaks off goes to `upstream.broken`."""
        line, fields, raw = await self.head()
        lower = {key.lower(): value for key, value in fields}
        try:
            if b"transfer-encoding" in lower:
                assert b"content-length" not in lower
                assert lower[b"transfer-encoding"] == b"chunked"
                body = await self.chunks()
            else:
                body = await self.reader.readexactly(int(lower.get(b"content-length", b"0")))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.upstream.broken.append(getattr(error, "partial", b""))
            raise EOFError from None
        received = Received(line, fields, body, self.number, raw)
        self.upstream.received.append(received)
        return received

    async def chunks(self) -> bytes:
        """Read a chunked body, strictly."""
        body = bytearray()
        while True:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line[:-2], 16)
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            if size == 0:
                return bytes(body)

    async def send(self, *pieces: bytes) -> None:
        """Write the pieces, each by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def ended(self) -> bytes:
        """Read what else comes until the connection ends, however it does."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Break the connection off with a reset."""
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off with a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until(claim: Callable[[], bool]) -> None:
    """Wait until something holds that nobody announces."""
    async with asyncio.timeout(WAIT_S):
        while not claim():  # noqa: ASYNC110  # what is asked about belongs to the program, which sets no event for tests
            await asyncio.sleep(0.001)


Script = Callable[[Peer], Awaitable[None]]


class RawUpstream:
    """A target that speaks bytes: `script` is run for every connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Received] = []
        self.broken: list[bytes] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, **options: Any) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **{"limit": 2**20, **options})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self.script(Peer(reader, writer, self.connections, self))
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass  # CPython 3.11 logs a cancelled callback of start_server as an error.
        except AssertionError as failure:
            self.failures.append(failure)
        finally:
            self._tasks.discard(task)
            writer.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def left(self) -> None:
        """Wait until every connection has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def stop(self) -> None:
        """Accept no more connections."""
        assert self._server is not None
        self._server.close()

    async def close(self) -> None:
        """Stop, and raise what a script found wrong."""
        self.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for failure in self.failures:
            raise failure


@asynccontextmanager
async def upstream(script: Script, **options: Any) -> AsyncIterator[RawUpstream]:
    """Run a raw upstream."""
    raw = RawUpstream(script)
    await raw.start(**options)
    try:
        yield raw
    finally:
        await raw.close()


def answering(*pieces: bytes) -> Script:
    """Return a script that answers every request with the same bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*pieces)

    return script


def ok(body: bytes = b"{}", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole response with Content-Length."""
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def route_to(port: int, path: bytes = b"", *, base: bytes = b"", query: bytes = b"", **settings: Any) -> Route:
    """Return a route for everything below `path` to a port of loopback."""
    target = Target(tls=False, host="127.0.0.1", port=port, base_path=base, query=query, name=f"127.0.0.1:{port}")
    terms = settings.pop("terms", Terms(path.decode() or "/", settings.pop("plan", Plan())))
    settings.setdefault("include_subpath", True)
    settings.setdefault("forward_headers", True)
    target = replace(target, **settings.pop("target", {}))
    return Route(path=path, targets=(target,), terms=terms, **settings)


@dataclass(slots=True)
class Road:
    """The real road, with a list where the books would be."""

    relay: Relay
    listener: Listener
    upstream: Upstream
    settling: Settling
    server: asyncio.AbstractServer
    exchanges: list[Exchange] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    passed: list[tuple[str, Usage]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server.sockets[0].getsockname()[1])

    def adopt(self, routes: Iterable[Route], clients: Iterable[Client] = ()) -> None:
        """Put other rules in force."""
        self.relay.rules = Rules(RouteTable(routes), Gate(clients))

    async def booked(self, count: int = 1) -> list[Exchange]:
        """Wait until `count` exchanges have ended and return all of them."""
        async with asyncio.timeout(WAIT_S):
            while len(self.exchanges) < count:
                self.ended.clear()
                await self.ended.wait()
        return self.exchanges

    async def quiet(self) -> None:
        """Wait until no request is being served and no call settles."""
        async with asyncio.timeout(WAIT_S):
            while self.relay.active:
                await asyncio.wait(set(self.relay.active.values()))
            await self.settling.drained()


@asynccontextmanager
async def road(
    *routes: Route,
    clients: Iterable[Client] = (),
    tls: Any = None,
    allowance: Allowance = BOUNDLESS,
    pool: Upstream | None = None,
    **listening: Any,
) -> AsyncIterator[Road]:
    """Run the road on a free port of loopback."""
    pool = pool or Upstream()
    await pool.prepare(target for route in routes for target in route.targets)
    exchanges: list[Exchange] = []
    ended = asyncio.Event()

    def done(exchange: Exchange) -> None:
        exchanges.append(exchange)
        ended.set()

    lines: list[tuple[str, Usage]] = []

    def passed(exchange: Exchange, usages: Iterable[Usage]) -> None:
        lines.extend((exchange.id, usage) for usage in usages)

    decoders = ThreadPoolExecutor(1)
    relay = Relay(Rules(RouteTable(routes), Gate(clients)), pool, done, passed, decoders, allowance=allowance)
    listener = Listener(relay, **listening)
    server = await asyncio.get_running_loop().create_server(listener if tls is None else listener.encrypted(tls), "127.0.0.1", 0)
    try:
        yield Road(relay, listener, pool, relay.settling, server, exchanges, ended, lines)
    finally:
        server.close()
        await relay.settling.cut_off()
        await listener.shutdown(1)
        pool.close()
        decoders.shutdown()


@asynccontextmanager
async def street(script: Script, *, clients: Iterable[Client] = (), **settings: Any) -> AsyncIterator[tuple[Road, RawUpstream]]:
    """Run a raw upstream and the road to it, with one route for every path; at the end nothing may be left over.

    What is looked for: requests still served, calls still settling, connections to the upstream, tasks.
    """
    before = asyncio.all_tasks()
    async with upstream(script) as above:
        async with road(route_to(above.port, **settings), clients=clients) as house:
            yield house, above
            await house.quiet()
        async with asyncio.timeout(WAIT_S):
            await above.left()
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=WAIT_S)
    assert left == set()


def asking(line: bytes = b"GET / HTTP/1.1", *fields: bytes, body: bytes | None = None) -> bytes:
    """Return a request; with Content-Length where it has a body."""
    lines = [line, b"Host: localhost", *fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunk(piece: bytes) -> bytes:
    """Return bytes as one chunk; nothing as the last chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@dataclass(slots=True)
class RawClient:
    """A client that speaks bytes on one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Write the pieces, each by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def head(self) -> bytes:
        """Read one response head, with its empty line."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self, method: str = "GET") -> tuple[bytes, bytes]:
        """Read one whole response: its head and its body without framing."""
        async with asyncio.timeout(WAIT_S):
            head = await self.head()
            lower = head.lower()
            if method == "HEAD" or head[9:12] in {b"204", b"304"}:
                return head, b""
            length = re.search(rb"\r\ncontent-length: *(\d+)\r\n", lower)
            if length:
                return head, await self.reader.readexactly(int(length[1]))
            if b"\r\ntransfer-encoding: chunked\r\n" in lower:
                return head, await Peer(self.reader, self.writer, 0, RawUpstream(answering())).chunks()
            return head, await self.reader.read()

    async def rest(self) -> bytes:
        """Read until the connection ends; raise ConnectionResetError where it was broken off."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read()

    async def broken(self) -> bool:
        """Read until the connection ends; tell whether it was broken off instead of closed."""
        try:
            await self.rest()
        except ConnectionResetError:
            return True
        return False

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()

    def reset(self) -> None:
        """Break the connection off with a reset."""
        reset(self.writer)


@asynccontextmanager
async def client(port: int, **options: Any) -> AsyncIterator[RawClient]:
    """Connect a raw client to a port of loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20, **options)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


async def once(port: int, request: bytes) -> bytes:
    """Send bytes on a fresh connection and return all that comes back until it ends."""
    async with client(port) as raw:
        await raw.send(request)
        return await raw.rest()
