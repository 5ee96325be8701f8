"""Raw clients: requests as bytes, and connections that send and read them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.harness.upstream import Peer, RawUpstream, answering, reset
from tests.harness.waiting import WAIT_S


def asking(line: bytes = b"GET / HTTP/1.1", *fields: bytes, body: bytes | None = None) -> bytes:
    """Return a request; with Content-Length where it has a body."""
    lines = [line, b"Host: localhost", *fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


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

    async def send_apart(self, *pieces: bytes) -> None:
        """Write the pieces so that a server on this event loop reads each by itself: its turn comes between two."""
        for piece in pieces:
            self.writer.write(piece)
            for _ in range(3):
                await asyncio.sleep(0)

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
