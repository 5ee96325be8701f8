"""Hundreds of clients that read and write slowly or not at all, and what the program's memory comes to meanwhile.

They cost this side next to nothing: raw sockets, the same bytes again and again, and what is not read stays in the kernel.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.harness.client import client
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import WAIT_S, eventually

PIECE = b"A" * 65_536
MOST_EACH = 1_700_000
"""Bytes of the program's memory that one client may come to, whatever the size of its body: a few buffers on either side."""

NORMAL = 20
"""Requests between the slow ones that must be answered right."""

LITTLE = 2**20
"""What slow readers take between two looks, in bytes; as long as more moves, buffers are still being filled."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The program's resident bytes before the clients came, and at most while they were there; `held` requests were under way."""

    before: int
    most: int
    held: int
    normal: int

    def bound(self, clients: int) -> int:
        """Return what it may be at most."""
        return self.before + clients * MOST_EACH


@dataclass(slots=True)
class Crowd:
    """Clients of four kinds, a quarter each: those that read slowly or nothing, those that write slowly or all they can."""

    port: int
    size: int
    moved: int = 0
    sockets: list[socket.socket] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def come(self, count: int) -> None:
        """Connect them all, and let them do what they do."""
        for number in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            self.sockets.append(sock)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            act = (self._read_slowly, self._read_nothing, self._write_slowly, self._write_all)[number % 4]
            self.tasks.append(asyncio.create_task(act(sock)))

    async def leave(self) -> None:
        """Close every connection."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for sock in self.sockets:
            sock.close()

    async def _ask(self, sock: socket.socket, path: bytes, length: int) -> None:
        head = b"POST /m/%b/%d/v1/ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path, self.size, length)
        await asyncio.get_running_loop().sock_sendall(sock, head)

    async def _read_nothing(self, sock: socket.socket) -> None:
        await self._ask(sock, b"give", 0)

    async def _read_slowly(self, sock: socket.socket) -> None:
        await self._ask(sock, b"give", 0)
        while True:
            await asyncio.get_running_loop().sock_recv(sock, 1000)
            await asyncio.sleep(0.2)

    async def _write_slowly(self, sock: socket.socket) -> None:
        await self._ask(sock, b"take", self.size)
        while True:
            await asyncio.get_running_loop().sock_sendall(sock, PIECE[:1000])
            await asyncio.sleep(0.2)

    async def _write_all(self, sock: socket.socket) -> None:
        await self._ask(sock, b"take", self.size)
        for _ in range(self.size // len(PIECE)):
            await asyncio.get_running_loop().sock_sendall(sock, PIECE)
            self.moved += len(PIECE)


@dataclass(slots=True)
class SlowTarget:
    """The target: gives as much as is taken, takes nothing of what is large, and answers what is small."""

    moved: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def script(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            line, fields, _ = await peer.head()
            found = re.match(rb"POST /(\w+)/(\d+)/", line)
            if found is None:
                await peer.reader.readexactly(int(dict(fields)[b"Content-Length"]))
                await peer.send(ok(line))
                continue
            if found[1] == b"take":
                await self.over.wait()
                return
            size = int(found[2])
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(PIECE)):
                await peer.send(PIECE)
                self.moved += len(PIECE)


def resident(running: Program, what: str) -> int:
    """Return the program's resident bytes: now (VmRSS), or at most so far (VmHWM)."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def in_flight(running: Program) -> int:
    """Return how many requests are under way."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as answer:
        found = re.search(r"^passthrough_\w*in_flight (\d+)", await answer.text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


@asynccontextmanager
async def crowded(folder: Path, clients: int, size: int) -> AsyncIterator[tuple[Program, Crowd, SlowTarget]]:
    """Run the program with so many slow clients, each with a body of `size` bytes, all under way."""
    target = SlowTarget()
    async with upstream(target.script, limit=len(PIECE)) as above:
        config = (
            "ledger: none\npass_through_endpoints:\n"
            f"  - {{path: /m, target: 'http://127.0.0.1:{above.port}', include_subpath: true, client_gone: cancel}}\n"
        )
        async with program(folder, config) as running:
            crowd = Crowd(running.port, size)
            try:
                yield running, crowd, target
            finally:
                await crowd.leave()
                # Who sends to a target that takes nothing is not listened to, so that its leaving shows only by the time-out.
                target.over.set()
            await eventually(lambda: in_flight(running), lambda count: count == 0)
            assert b"/m/small" in await answered(running)
            assert 0 == await running.stop()


async def answered(running: Program) -> bytes:
    """Make one request as anybody would; return the answer's body, which names it."""
    async with asyncio.timeout(WAIT_S), client(running.port) as raw:
        await raw.send(b"POST /m/small?for=/m/small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n", PIECE)
        head, body = await raw.answer()
    assert head.startswith(b"HTTP/1.1 200 ")
    return body


async def memory_of(folder: Path, *, clients: int, size: int) -> Memory:
    """Let the clients come, wait until nothing but what is slow moves any more, and return what was seen."""
    async with crowded(folder, clients, size) as (running, crowd, target):
        before = resident(running, "VmRSS")
        await crowd.come(clients)
        held = await eventually(lambda: in_flight(running), lambda count: count == clients)
        normal = 0
        moved = -LITTLE
        while normal < NORMAL or crowd.moved + target.moved - moved >= LITTLE:
            moved = crowd.moved + target.moved
            normal += b"/m/small" in await answered(running)
            await asyncio.sleep(0.05)
        return Memory(before, resident(running, "VmHWM"), held, normal)
