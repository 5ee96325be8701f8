"""A pooler in transaction mode: a transaction has one of its few connections until it ends, as with PgBouncer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_SSL, _GSS = 80877103, 80877104
"""What a client asks before it begins: whether it may speak TLS, or GSSAPI."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class Pooler:
    """Hands connections of a server, on a Unix socket that needs no password, from client to client, in turn."""

    path: str
    size: int
    greeting: bytes = b""
    idle: asyncio.Queue[Streams] = field(default_factory=asyncio.Queue)
    servers: list[Streams] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    port: int = 0
    clients: int = 0
    turns: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.clients += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            startup = await _startup(reader, writer)
            while len(self.servers) < self.size:
                self.servers.append(await asyncio.open_unix_connection(self.path))
                self.servers[-1][1].write(startup)
                self.greeting = await _answer(self.servers[-1], None)
                self.idle.put_nowait(self.servers[-1])
            writer.write(self.greeting)
            while True:
                message = await _message(reader)
                server = await self.idle.get()
                try:
                    await self._transaction(server, message, reader, writer)
                finally:
                    self.idle.put_nowait(server)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.tasks.discard(task)

    async def _transaction(
        self, server: Streams, message: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.turns += 1
        while True:
            if message[:1] == b"X":
                raise ConnectionError
            server[1].write(message)
            if message[:1] in {b"Q", b"S"} and (await _answer(server, writer))[-1:] == b"I":
                return
            message = await _message(reader)


async def _answer(server: Streams, writer: asyncio.StreamWriter | None) -> bytes:
    """Pass on what a server says until it is ready for a query, and return that; its last byte says in what state it is."""
    said = b""
    while True:
        message = await _message(server[0])
        said += message
        if writer is not None:
            writer.write(message)
        assert message[:1] != b"E" or writer is not None, message
        if message[:1] == b"Z":
            return said


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        if code not in {_SSL, _GSS}:
            return head + await reader.readexactly(length - 8)
        writer.write(b"N")


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


@asynccontextmanager
async def pooler(path: str, size: int) -> AsyncIterator[Pooler]:
    """Run one on a free port of loopback, in front of the server whose socket is at a path."""
    pool = Pooler(path, size)
    listening = await asyncio.start_server(pool.serve, "127.0.0.1", 0)
    pool.port = listening.sockets[0].getsockname()[1]
    try:
        yield pool
    finally:
        listening.close()
        await asyncio.gather(*pool.tasks, return_exceptions=True)
        for _, writer in pool.servers:
            writer.close()
            await writer.wait_closed()
