"""The target of the benchmark: raw protocols in a process of its own, which count a request and answer it from memory.

`python -m tests.bench.upstream [certificate.pem]` prints its ports, without TLS and with, and serves until its stdin ends. The
path says what is answered: `/length/20000000/ocr`, `/chunked/…`, `/gzip/…`, `/events/200/5`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
from typing import Any, cast

import uvloop

from .bodies import framed_answer

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(text: str) -> bytes:
    """Return one server-sent event as one chunk."""
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


class Serving(asyncio.Protocol):
    """One connection: one request after the other, each answered when its last byte is here."""

    def __init__(self) -> None:
        self._head = b""
        self._left: int | None = None  # bytes of the body that are still to come; None: a head comes; -1: chunks
        self._tail = b""
        self._answer = b""
        self._events: tuple[int, float] | None = None
        self._known: dict[bytes, bytes] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        """Count the body, or read the head."""
        if self._left is None:
            data = self._begin(data)
            if self._left is None:
                return
        if self._left < 0:
            self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
            if self._tail == _LAST_CHUNK:
                self._respond()
            return
        self._left -= len(data)
        if self._left <= 0:
            self._respond()

    def _begin(self, data: bytes) -> bytes:
        """Read the head if it is complete; return what is behind it."""
        data = self._head + data
        end = data.find(_HEAD_END)
        if end < 0:
            self._head = data
            return b""
        head, self._head = data[: end + 4], b""
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else -1 if _CHUNKED.search(head) else 0
        self._tail = b"\r\n"
        path = head[head.find(b" ") + 1 : head.find(b" ", 8)].partition(b"?")[0]
        if path not in self._known:
            self._known[path] = self._answer_to(path.decode())
        self._answer = self._known[path]
        return data[end + 4 :]

    def _answer_to(self, path: str) -> bytes:
        kind, amount, *more = path.strip("/").split("/")
        if kind == "events":
            self._events = (int(amount), float(more[0]) / 1000)
            return b""
        return framed_answer(int(amount), kind)

    def _respond(self) -> None:
        self._left = None
        if self._answer:
            self.transport.write(self._answer)
        else:
            self._task = asyncio.get_running_loop().create_task(self._stream())

    async def _stream(self) -> None:
        """Send events that say when they were sent, by the clock that all processes of the machine share."""
        assert self._events is not None
        count, pause_s = self._events
        self.transport.write(_STREAM)
        for _ in range(count):
            await asyncio.sleep(pause_s)
            self.transport.write(event(f'{{"sent_ns": {time.monotonic_ns()}}}'))
        self.transport.write(event("[DONE]") + b"0\r\n\r\n")


async def serve(certificate: str | None) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    contexts: tuple[Any, ...] = (None, tls) if tls else (None,)
    servers = [await loop.create_server(Serving, "127.0.0.1", 0, ssl=context, backlog=1024) for context in contexts]
    sys.stdout.write(" ".join(str(server.sockets[0].getsockname()[1]) for server in servers) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
