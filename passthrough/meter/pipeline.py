"""Feeds the passing bytes of one body to its reader, without holding the bytes or blocking the event loop.

Plain bytes are scanned on the event loop as they pass: that costs less than an executor's hand-over. Coded bytes, and plain ones
that are so dense that they would take long, go to an executor in slices: in order, one slice in flight for each body. The queue
before it is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from .decode import Chain, Oversized
from .false_coding import Undecodable
from .jsonscan.scanner import STEPS
from .usage import Unmetered

MAX_QUEUED_BYTES: Final = 1024 * 1024
"""The size of the queue, in bytes as they came, at which `feed` asks for a pause."""

_SMALL_BYTES: Final = 4096  # coded bytes that are decoded on the event loop: the executor would cost more
_SMALL_DECODED_BYTES: Final = 65536
_SLICE_BYTES: Final = 262144  # coded bytes given to the executor at once
_SLICE_DECODED_BYTES: Final = 1024 * 1024


class Reader(Protocol):
    """Reads the bytes of one body; used by one thread at a time."""

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on; return the position reached, which is before the end if `steps` did not suffice."""
        ...


Peek = Callable[[bytearray, int], bool]
"""Takes the first bytes of a buffer if they do not change the reader's state; False: feed them."""

OnProgress = Callable[[], bool] | None
"""Called on the event loop when the reader has made progress and is idle; never raises; False: read no further. None: no call."""


class _Pipe:
    """The decoders of a body and its reader, in a row; used by one thread at a time."""

    __slots__ = ("_at", "_piece", "_pieces", "chain", "failure", "left_bytes", "reader")

    def __init__(self, reader: Reader, chain: Chain | None, max_bytes: int) -> None:
        self.reader = reader
        self.chain = chain
        self.failure: Unmetered | None = None
        self.left_bytes = max_bytes  # for a plain body; a chain has its own bound
        self._pieces: Iterator[bytes] = iter(())
        self._piece, self._at = b"", 0

    def keep_rest(self, chunk: bytes, at: int) -> None:
        """Keep the rest of `chunk`, from `at` on, for `advance`."""
        self._piece, self._at = chunk, at

    def pass_coded(self, chunk: bytes) -> bool:
        """Decode and scan a small `chunk` as far as that is cheap; return False if `advance` must go on with it."""
        self.give((chunk,))
        return self.advance(_SMALL_DECODED_BYTES)

    def give(self, chunks: tuple[bytes, ...]) -> None:
        """Take the next chunks for `advance`; the ones before are done."""
        self._pieces = self._decoded(chunks)

    def advance(self, max_bytes: int = _SLICE_DECODED_BYTES) -> bool:
        """Do a bounded piece of work; return whether all chunks are done (or lost, see `failure`)."""
        try:
            while max_bytes > 0:
                if self._at == len(self._piece):
                    piece = next(self._pieces, None)
                    if piece is None:
                        self._piece, self._at = b"", 0
                        return True
                    self._piece, self._at = piece, 0
                    max_bytes -= max(len(piece), 1024)
                self._at = self.reader.feed(self._piece, self._at, STEPS)
                if self._at < len(self._piece):
                    return False
        except Undecodable:
            self.failure = Unmetered.UNKNOWN_CODING
        except (Oversized, MemoryError):
            self.failure = Unmetered.TOO_LARGE
        return self.failure is not None

    def _decoded(self, chunks: tuple[bytes, ...]) -> Iterator[bytes]:
        for chunk in chunks:
            if self.chain is not None:
                yield from self.chain.pieces(chunk)
            elif self.left_bytes < len(chunk):
                raise Oversized("a plain body beyond the bound")
            else:
                self.left_bytes -= len(chunk)
                yield chunk


class MeterPipeline:
    """Decodes one body and feeds its reader, on the event loop or on an executor. Called only on the event loop."""

    __slots__ = ("_decoders", "_job", "_on_progress", "_pipe", "_queue", "_queued_bytes", "_slice_bytes", "_waiting")

    def __init__(
        self,
        reader: Reader,
        chain: Chain | None,
        decoders: Executor,
        max_bytes: int,
        on_progress: OnProgress,
    ) -> None:
        """`max_bytes`: a body that is larger, decoded, is TOO_LARGE; the rest of it is ignored."""
        self._pipe = _Pipe(reader, chain, max_bytes)
        self._on_progress = on_progress
        self._decoders = decoders
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0  # in the queue and in flight
        self._slice_bytes = 0  # in flight
        self._job: Future[bool] | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # (the size to wait for, its waiter)

    @property
    def failure(self) -> Unmetered | None:
        """Why bytes are ignored, None while they are not."""
        return self._pipe.failure

    @property
    def busy(self) -> bool:
        """Whether another thread uses the reader now."""
        return self._job is not None

    @property
    def decoded(self) -> bool:
        """Whether the coded bytes so far are complete."""
        return self._pipe.chain is None or self._pipe.chain.whole

    def refuse(self, why: Unmetered) -> None:
        """Ignore all bytes from now on, for the reason `why`."""
        self._pipe.failure = why
        self._queue.clear()
        self._queued_bytes = self._slice_bytes = 0

    def report_progress(self, *, last: bool) -> None:
        """Call `on_progress`, whether there was progress or not; after the `last` call, drop the reference to it."""
        if self._on_progress is not None:
            self._on_progress()
            if last:
                self._on_progress = None

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire. Synchronous, bounded, never raises.

        False: the queue is full; await `drained` before the next chunk.
        """
        pipe, size = self._pipe, len(chunk)
        if pipe.failure is not None or not size:
            return True
        chain = pipe.chain
        if self._job is None and (chain is None or (size <= _SMALL_BYTES and not chain.long_steps)):
            if chain is not None:
                is_done = pipe.pass_coded(chunk)
            elif size > pipe.left_bytes:
                pipe.failure, is_done = Unmetered.TOO_LARGE, True
            else:  # Inlined, to save a call: see proxy.upstream.connection.Connection.data_received.
                pipe.left_bytes -= size
                at = pipe.reader.feed(chunk)
                is_done = at == size
                if not is_done:
                    pipe.keep_rest(chunk, at)
            if (self._on_progress is None or self._goes_on(self._on_progress)) and not is_done:
                self._queued_bytes = self._slice_bytes = size
                self._submit()
            return self._queued_bytes < MAX_QUEUED_BYTES
        self._queue.append(chunk)
        self._queued_bytes += size
        if self._job is None:
            self._next_slice()
        return self._queued_bytes < MAX_QUEUED_BYTES

    def peek(self, peek: Peek, buffer: bytearray, size: int) -> bool:
        """Take the first bytes of a buffer if the reader's own `peek` needs no copy of them; False: feed them."""
        pipe = self._pipe
        if pipe.failure is not None:
            return True
        if self._job is not None or pipe.chain is not None or size > pipe.left_bytes or not peek(buffer, size):
            return False
        pipe.left_bytes -= size
        return True

    def _goes_on(self, on_progress: Callable[[], bool]) -> bool:
        """Report progress; return whether the reader is to go on."""
        if on_progress():
            return True
        self.refuse(self._pipe.failure or Unmetered.NO_USAGE)
        return False

    async def drained(self) -> None:
        """Wait until the queue is half empty, so that not every chunk waits."""
        await self._until_queued(MAX_QUEUED_BYTES // 2)

    async def rest(self) -> None:
        """Wait until all bytes so far are read."""
        await self._until_queued(-1)

    async def _until_queued(self, max_bytes: int) -> None:
        while self._job is not None and self._queued_bytes > max_bytes:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((max_bytes, waiter))
            await waiter

    def _wake(self) -> None:
        """Resolve the waiters whose size is reached."""
        waiting, self._waiting = self._waiting, []
        for max_bytes, waiter in waiting:
            if self._job is not None and self._queued_bytes > max_bytes:
                self._waiting.append((max_bytes, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    def _next_slice(self) -> None:
        """Submit the next slice of the queue to the executor, if there is one."""
        chunks: list[bytes] = []
        self._slice_bytes = 0
        while self._queue and self._slice_bytes < _SLICE_BYTES:
            chunk = self._queue.popleft()
            chunks.append(chunk)
            self._slice_bytes += len(chunk)
        if chunks:
            self._pipe.give(tuple(chunks))
            self._submit()

    def _submit(self) -> None:
        try:
            job = self._decoders.submit(self._pipe.advance)
        except RuntimeError:  # the executor is shut down, and so is the server
            self.refuse(Unmetered.CANCELLED)
        else:
            self._job = job
            job.add_done_callback(partial(_hand_back, asyncio.get_running_loop(), self._advanced))

    def _advanced(self, job: Future[bool]) -> None:
        """Go on after a slice of work: with the rest of the slice, or with the queue."""
        self._job = None
        if job.cancelled():
            self.refuse(Unmetered.CANCELLED)
        elif error := job.exception():
            self.refuse(Unmetered.UNKNOWN_CODING)
            asyncio.get_running_loop().call_exception_handler({"message": "The meter failed.", "exception": error})
        elif self._pipe.failure is not None:
            if self._on_progress is not None:
                self._on_progress()
            self.refuse(self._pipe.failure)
        elif self._on_progress is not None and not self._goes_on(self._on_progress):
            pass
        elif not job.result():
            self._submit()
        else:
            self._queued_bytes -= self._slice_bytes
            self._next_slice()
        if self._waiting:
            self._wake()


def _hand_back(loop: asyncio.AbstractEventLoop, advanced: Callable[[Future[bool]], None], job: Future[bool]) -> None:
    """Call `advanced` on the event loop, from the job's thread. With an asyncio future for each it would cost twice as much."""
    with suppress(RuntimeError):  # the loop is closed, and so is the server
        loop.call_soon_threadsafe(advanced, job)
