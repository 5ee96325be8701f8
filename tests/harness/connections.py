"""One connection to a target, with what is read of it; its other end is a bare socket that the test speaks for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.response_head import ResponseHead
from tests.harness.waiting import WAIT_S


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, socket.socket]]:
    """Connect to a bare socket, which the test speaks for."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    _, connection = await loop.create_connection(lambda: Connection(loop, "api.test"), sock=ours)
    try:
        yield connection, theirs
    finally:
        connection.abort()
        theirs.close()


async def answer_of(connection: Connection) -> ResponseHead:
    """Wait for the response's head."""
    async with asyncio.timeout(WAIT_S):
        while (answer := connection.take_response_head()) is None:
            await connection.arrived()
        return answer


async def body_of(connection: Connection) -> bytes:
    """Wait for the whole body."""
    body = b""
    async with asyncio.timeout(WAIT_S):
        while True:
            piece = connection.take()
            if piece == b"":
                return body
            if piece is None:
                await connection.arrived()
            else:
                body += piece
