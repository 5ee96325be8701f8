"""Whether the program ever holds a small request up: a route is pinged, and a bare server beside it, from a process of its own.

A finding is a ping by the route that took more than 250 ms while every ping of the bare server at that time took less than 50:
then it was not the machine. The route's target is the bare server itself, so that nothing else can be slow.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

HELD_S = 0.25
"""A ping by the route that takes longer has been held up."""

BARE_S = 0.05
"""While a ping of the bare server takes longer than this, it may be the machine."""

EVERY_S = 0.02
GIVEN_UP_S = 20.0

_PONG = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_PING = b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Pings:
    """When pings began and how long they took, in seconds: by the route, and of the bare server."""

    routed: list[tuple[float, float]] = field(default_factory=list)
    bare: list[tuple[float, float]] = field(default_factory=list)

    def held_up(self) -> list[tuple[float, float]]:
        """Return the pings by the route that were held up while the machine was not: when they began, and how long they took."""
        return [(began, took) for began, took in self.routed if took > HELD_S and self._beside(began, took) < BARE_S]

    def _beside(self, began: float, took: float) -> float:
        """Return the longest of the bare pings that were under way meanwhile."""
        return max((each for at, each in self.bare if at < began + took and at + each > began), default=GIVEN_UP_S)


async def ping(port: int, path: bytes) -> tuple[float, float]:
    """Ask on a connection of its own; return when that began and how long it took, at most GIVEN_UP_S."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(GIVEN_UP_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_PING % path)
                await reader.readexactly(9)
            finally:
                writer.close()
    except TimeoutError:
        return began, GIVEN_UP_S
    except (OSError, asyncio.IncompleteReadError):  # It is stopping, or another worker's end: the faults are others' to find.
        return began, 0.0
    return began, time.monotonic() - began


async def _pinging(port: int, path: bytes, into: list[tuple[float, float]]) -> None:
    """Ping by the clock, whether the earlier ones have returned or not."""
    under_way: set[asyncio.Task[tuple[float, float]]] = set()
    while True:
        task = asyncio.create_task(ping(port, path))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        task.add_done_callback(lambda ended: None if ended.cancelled() else into.append(ended.result()))
        await asyncio.sleep(EVERY_S if len(under_way) < 50 else 1)


async def _watch(bare: int, port: int, path: bytes) -> None:
    """Ping until stdin ends; then print what was seen."""
    pings = Pings()
    tasks = [asyncio.create_task(_pinging(port, path, pings.routed)), asyncio.create_task(_pinging(bare, b"/", pings.bare))]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    routed, beside = sorted(took for _, took in pings.routed), sorted(took for _, took in pings.bare)
    sys.stdout.write(json.dumps({"held_up": pings.held_up(), "routed": _figures(routed), "bare": _figures(beside)}))


def _figures(sorted_s: list[float]) -> list[float]:
    """Return how many there were, the median, the 99th percentile and the longest."""
    if not sorted_s:
        return [0, 0, 0, 0]
    return [len(sorted_s), *(sorted_s[int((len(sorted_s) - 1) * part)] for part in (0.5, 0.99, 1))]


class _Bare(asyncio.Protocol):
    """The bare server: whatever comes is answered at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert hasattr(transport, "write")
        self._write: Callable[[bytes], None] = transport.write

    def data_received(self, data: bytes) -> None:
        self._write(_PONG)


async def _serve() -> None:
    """Answer until stdin ends; print the port first."""
    server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


async def _started(*arguments: str) -> asyncio.subprocess.Process:
    pipe, here = asyncio.subprocess.PIPE, str(Path(__file__).parents[2])
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.soak.stalls",
        *arguments,
        stdin=pipe,
        stdout=pipe,
        cwd=here,
        env={**os.environ, "PYTHONPATH": here},
    )


async def _ended(process: asyncio.subprocess.Process) -> bytes:
    if process.returncode is not None:
        return b""
    out, _ = await process.communicate(b"")
    return out


@dataclass(slots=True)
class Seen:
    """What the pings came to, once the watch has ended: `findings` in words, and the figures."""

    findings: list[str] = field(default_factory=list)
    figures: str = ""

    def note(self, said: bytes, since: float) -> None:
        """Take what the pinging process printed."""
        found = json.loads(said)
        self.findings = [
            f"held up: a ping by the route took {took:.2f} s, {began - since:.1f} s after the beginning"
            for began, took in found["held_up"]
        ]
        words = ("{:.0f} pings by the route", "median {:.4f} s", "99 % {:.4f} s", "longest {:.3f} s")
        routed, bare = (", ".join(map(str.format, words, found[name])) for name in ("routed", "bare"))
        self.figures = f"{routed}; bare: {bare.replace(' by the route', '')}; {len(self.findings)} held up"


@asynccontextmanager
async def bare_server() -> AsyncIterator[int]:
    """Run the bare server in a process of its own; yield its port."""
    process = await _started("serve")
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        await _ended(process)


@asynccontextmanager
async def watched(bare: int, port: int, path: str) -> AsyncIterator[Seen]:
    """Ping a route whose target is the bare server, until this is left; what was seen is in the value then."""
    since = time.monotonic()
    process = await _started("watch", str(bare), str(port), path)
    seen = Seen()
    try:
        yield seen
    finally:
        said = await _ended(process)
        if said:
            seen.note(said, since)
        else:
            seen.findings.append("the pinging process has died")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(_serve())
    else:
        uvloop.run(_watch(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()))
