"""The load generator of the benchmark: raw protocols in a process of its own.

`python -m tests.bench.load` reads a job as a line of JSON, warms up, says `ready`, waits for a line, works, and prints what
it saw.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from .bodies import request, request_body

TIMEOUT_S = 600.0
"""What takes longer is a failure of the target."""

Ended = Callable[[Exception | None], None]
"""Called at the end of an exchange, with what went wrong."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent_ns": (\d+)')
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(slots=True)
class Job:
    """What is to be sent: `size` bytes to `path`, over so many connections.

    `seconds` 0: one exchange on each connection. `rate`: requests a second in all, begun by the clock; else each connection sends
    its next request when its answer is there.
    """

    port: int
    path: str
    size: int
    connections: int
    seconds: float
    rate: float = 0.0
    ca_file: str = ""
    warm_s: float = 0.3
    model: str = ""
    model_last: bool = False


@dataclass(slots=True)
class Seen:
    """What was seen, once measuring had begun."""

    latencies_s: list[float] = field(default_factory=list)
    added_s: list[float] = field(default_factory=list)
    bytes_down: int = 0


class Sending(asyncio.BufferedProtocol):
    """One connection: `exchange` sends the request, and returns when the answer is complete."""

    def __init__(self, seen: Seen, *, events: bool) -> None:
        self._seen = seen
        self._events = events
        self._buffer = bytearray(1 << 18)
        self._view = memoryview(self._buffer)
        self._head = b""
        self._left: int | None = None  # as the upstream has it
        self._tail = b""
        self._then: Ended | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        """An exchange under way has failed."""
        self._end(ConnectionError("The target closed the connection."))

    def exchange(self, data: bytes, then: Ended) -> None:
        """Send a request; `then` is called with the last byte of its answer, or with what went wrong."""
        self._then = then
        self._left, self._head, self._tail = None, b"", b"\r\n"
        if self.transport.is_closing():
            self._end(ConnectionError("The target has closed the connection."))
        else:
            self.transport.write(data)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the one buffer of this connection."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count what has come."""
        self._seen.bytes_down += nbytes
        if self._left is None:
            nbytes = self._begin(nbytes)
            if self._left is None:
                return
        elif self._left < 0:
            self._tail = (self._tail + bytes(self._view[max(0, nbytes - 7) : nbytes]))[-7:]
        if self._events:
            self._note(nbytes)
        if self._left < 0:
            if self._tail == _LAST_CHUNK:
                self._end()
            return
        self._left -= nbytes
        if self._left <= 0:
            self._end()

    def _begin(self, nbytes: int) -> int:
        """Read the head if it is complete; return how many bytes came behind it."""
        data = self._head + bytes(self._view[:nbytes])
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._head = data
            return 0
        if data[9:12] != b"200":
            self._end(ConnectionError(data[:400].decode("latin-1")))
            return 0
        length = _LENGTH.search(data, 0, end + 2)
        self._left = int(length[1]) if length else -1
        self._tail = data[end + 2 :][-7:]
        return len(data) - end - 4

    def _note(self, nbytes: int) -> None:
        now_ns = time.monotonic_ns()
        for sent_ns in _SENT.findall(bytes(self._view[:nbytes])):
            self._seen.added_s.append((now_ns - int(sent_ns)) / 1e9)

    def _end(self, error: Exception | None = None) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(error)


async def _connected(job: Job, seen: Seen) -> list[Sending]:
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(cafile=job.ca_file) if job.ca_file else None
    made = []
    for _ in range(job.connections):
        _, one = await loop.create_connection(
            lambda: Sending(seen, events="/events/" in job.path),
            "127.0.0.1",
            job.port,
            ssl=tls,
            server_hostname="localhost" if tls else None,
        )
        made.append(one)
    return made


async def _closed_loop(job: Job, ones: list[Sending], seen: Seen, seconds: float) -> None:
    """Each connection sends its next request when its answer is there, until the time is over; at least one."""
    data = request(job.path, request_body(job.size, job.model, model_last=job.model_last))
    until = time.perf_counter() + seconds

    def run(one: Sending) -> asyncio.Future[None]:
        """Call by call without a task: the generator must cost less than what it measures."""
        finished = asyncio.get_running_loop().create_future()
        began = 0.0

        def send() -> None:
            nonlocal began
            began = time.perf_counter()
            one.exchange(data, ended)

        def ended(error: Exception | None) -> None:
            now = time.perf_counter()
            if error is not None:
                finished.set_exception(error)
                return
            seen.latencies_s.append(now - began)
            finished.set_result(None) if now >= until else send()

        send()
        return finished

    await asyncio.gather(*(run(one) for one in ones))


async def _by_the_clock(job: Job, ones: list[Sending], seen: Seen, seconds: float) -> None:
    """Requests begin at their times, whatever became of those before; what waits for a connection counts as late."""
    data = request(job.path, request_body(job.size, job.model, model_last=job.model_last))
    free: asyncio.Queue[Sending] = asyncio.Queue()
    for one in ones:
        free.put_nowait(one)

    async def send(due: float) -> None:
        one = await free.get()
        finished = asyncio.get_running_loop().create_future()
        one.exchange(data, lambda error: finished.set_result(None) if error is None else finished.set_exception(error))
        await finished
        seen.latencies_s.append(time.perf_counter() - due)
        free.put_nowait(one)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, int(seconds * job.rate))):
            due = began + number / job.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(send(due))


async def work(job: Job) -> dict[str, Any]:
    """Warm up, wait for the word, measure."""
    seen = Seen()
    act = _by_the_clock if job.rate else _closed_loop
    async with asyncio.timeout(TIMEOUT_S):
        ones = await _connected(job, seen)
        if job.warm_s:
            await act(job, ones, Seen(), job.warm_s)
        seen.added_s.clear()
        seen.bytes_down = 0
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await act(job, ones, seen, job.seconds)
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        for one in ones:
            one.transport.abort()
    return {
        "requests": len(seen.latencies_s),
        "seconds": seconds,
        "bytes_down": seen.bytes_down,
        "load_cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "latencies_us": quantiles(seen.latencies_s),
        "added_us": quantiles(seen.added_s),
    }


def quantiles(spans_s: list[float]) -> dict[str, float]:
    """Return the median and the tail in µs."""
    if not spans_s:
        return {}
    ordered = sorted(spans_s)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6 for name, share in at.items()}


def main() -> None:
    """Do one job."""
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        result = uvloop.run(work(job))
    except* (ConnectionError, TimeoutError, OSError) as group:
        result = {"error": "; ".join(str(error) or type(error).__name__ for error in group.exceptions)[:500]}
        sys.stdout.write("ready\n")
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
