"""The write gate of a connection, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from passthrough.proxy.net.write_gate import WriteGate
from tests.harness.waiting import WAIT_S, until


class Writer(asyncio.Protocol):
    """A protocol that passes to its write gate what the transport says."""

    def __init__(self) -> None:
        self.room = WriteGate(asyncio.get_running_loop())

    def pause_writing(self) -> None:
        """Note that it is full."""
        self.room.full = True

    def resume_writing(self) -> None:
        """Note that it is not."""
        self.room.clear()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the wait."""
        self.room.wake()


@asynccontextmanager
async def full() -> AsyncIterator[tuple[WriteGate, asyncio.Transport, socket.socket]]:
    """Connect two sockets, and write to one until it is full."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, writer = await asyncio.get_running_loop().create_connection(Writer, sock=ours)
    try:
        while not writer.room.full:
            transport.write(b"a" * 65536)
        yield writer.room, transport, theirs
    finally:
        transport.abort()
        theirs.close()


async def test_there_is_room() -> None:
    """No one waits then."""
    ours, theirs = socket.socketpair()
    with theirs:
        transport, writer = await asyncio.get_running_loop().create_connection(Writer, sock=ours)
        await writer.room.wait(transport, 0.0)
        transport.abort()


async def test_a_peer_that_reads() -> None:
    """The wait ends when it has taken enough."""
    async with full() as (room, transport, theirs):
        waiting = asyncio.create_task(room.wait(transport, WAIT_S))
        while not waiting.done():
            await asyncio.get_running_loop().sock_recv(theirs, 65536)
        await waiting
        assert not room.full


async def test_a_peer_that_reads_nothing() -> None:
    """The wait ends at its time-out."""
    async with full() as (room, transport, _):
        with pytest.raises(TimeoutError):
            await room.wait(transport, 0.05)


async def test_a_peer_that_leaves() -> None:
    """The wait ends with the connection, without an error of its own."""
    async with full() as (room, transport, theirs):
        waiting = asyncio.create_task(room.wait(transport, WAIT_S))
        await asyncio.sleep(0)
        theirs.close()
        transport.abort()
        await waiting
        await until(transport.is_closing)
