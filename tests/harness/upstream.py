"""Raw upstreams: targets that speak bytes by a script, and record what reached them."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


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

    async def start(self, port: int = 0, host: str = "127.0.0.1", **options: Any) -> None:
        """Listen on loopback, on a free port where none is given; after `stop` it may be started again."""
        self._server = await asyncio.start_server(self._serve, host, port, **{"limit": 2**20, **options})

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

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

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


def chunk(piece: bytes) -> bytes:
    """Return bytes as one chunk; nothing as the last chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
