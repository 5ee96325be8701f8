"""A balancer that treats connections as a Service of Kubernetes does: new ones go to who is ready, established ones stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.harness.client import once
from tests.harness.process import Program
from tests.harness.upstream import reset

_READYZ = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_EVERY_S = 0.05


@dataclass(eq=False)
class Balancer:
    """Passes bytes between clients and replicas. It goes by what `look` saw last, however old that is.

    As kube-proxy does, it changes nothing of a connection: ends and resets reach the other side, and a replica that takes no
    connection is a reset for the client. `fewest` is how few were ready in any look since there were some.
    """

    replicas: list[Program] = field(default_factory=list)
    ready: list[Program] = field(default_factory=list)
    refused: int = 0
    fewest: int | None = None
    port: int = 0
    _turn: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def look(self) -> None:
        """Ask each replica's /readyz."""
        seen = list(self.replicas)
        answers = await asyncio.gather(*(_is_ready(each) for each in seen))
        self.ready = [each for each, ready in zip(seen, answers, strict=True) if ready]
        if self.ready or self.fewest is not None:
            self.fewest = min(len(self.ready), len(self.ready) if self.fewest is None else self.fewest)

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        chosen = self.ready[self._turn % len(self.ready)]
        self._turn += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", chosen.port)
        except ConnectionRefusedError:
            self.refused += 1
            reset(writer)
            return
        try:
            await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        except asyncio.CancelledError:
            pass  # CPython 3.11 logs a cancelled callback of start_server as an error.
        finally:
            there[1].close()
            writer.close()

    async def end(self) -> None:
        """Break off what is open."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _is_ready(replica: Program) -> bool:
    with suppress(ConnectionError):
        return (await once(replica.admin_port, _READYZ)).startswith(b"HTTP/1.1 200 ")
    return False


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what one side sends, and how it ends."""
    try:
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        reset(writer)
    except OSError:  # The other side has ended meanwhile: there is nobody to tell.
        pass


@asynccontextmanager
async def balancer(replicas: Iterable[Program] = (), *, watching: bool = True) -> AsyncIterator[Balancer]:
    """Run a balancer that has looked once; without `watching` it looks only when it is told to."""
    made = Balancer(list(replicas))
    await made.look()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2**20)
    made.port = server.sockets[0].getsockname()[1]
    watch = asyncio.create_task(made.watch()) if watching else None
    try:
        yield made
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        server.close()
        await made.end()
