"""Measures the memory that concurrent uploads to a slow target need. By hand: `python -m tests.bench.uploads`."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.harness.client import client
from tests.harness.process import program
from tests.harness.upstream import Peer, ok, upstream

PIECE = os.urandom(1 << 18)


async def peak_rss(folder: Path, *, uploads: int, size: int) -> tuple[int, int]:
    """Send concurrent uploads of `size` bytes through the program; return its resident bytes before, and at most.

    The upstream takes nothing until every upload has begun, and then less than it could: back-pressure must hold the clients.
    """
    begun = asyncio.Barrier(uploads)

    async def slow(peer: Peer) -> None:
        _, fields, _ = await peer.head()
        length = int(dict(fields)[b"Content-Length"])
        async with asyncio.timeout(60):
            await begun.wait()
        while length:
            length -= len(await peer.reader.read(len(PIECE)))
            await asyncio.sleep(0)
        await peer.send(ok())

    async with upstream(slow) as raw:
        config = f"ledger: none\npass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:{raw.port}'}}]\n"
        async with program(folder, config) as running:
            process = psutil.Process(running.process.pid)
            before = most = process.memory_info().rss

            async def upload() -> bytes:
                async with client(running.port) as one:
                    await one.send(b"POST /m HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
                    for _ in range(size // len(PIECE)):
                        await one.send(PIECE)
                    return (await one.answer())[0][:12]

            uploading = asyncio.gather(*(upload() for _ in range(uploads)))
            while not uploading.done():
                await asyncio.wait({uploading}, timeout=0.02)
                most = max(most, process.memory_info().rss)
            assert [b"HTTP/1.1 200"] * uploads == uploading.result()
            return before, most


def said(uploads: int, size: int, before: int, most: int) -> str:
    """Return the figures as a sentence."""
    before, most = (round(figure / 1e6) for figure in (before, most))
    return f"{uploads} uploads of {size / 1e6:.0f} MB: {before} MB resident before, {most} MB at most\n"


def main() -> None:
    """Measure the full size and print the figures."""
    for uploads, megabytes in ((60, 5), (60, 20), (200, 5), (200, 20), (200, 40)):
        size = megabytes * 4 * len(PIECE)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            figures = asyncio.run(peak_rss(Path(folder), uploads=uploads, size=size))
        sys.stdout.write(said(uploads, size, *figures).rstrip() + f", {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
