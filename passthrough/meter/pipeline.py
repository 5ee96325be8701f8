"""Brings the passing bytes of one body to their reader, without holding them or the event loop.

Plain bytes are scanned at once, where they pass: that costs less than handing them over. What is coded, and what is so dense that
it would take long, goes to an executor in slices, one slice in flight for each body, in order. What waits there is bounded.
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

BACKLOG_BYTES: Final = 1024 * 1024
"""The backlog, in bytes as they came, beyond which `feed` asks for a pause."""

_SMALL_BYTES: Final = 4096  # coded bytes decoded where they pass: handing them over would cost more
_SMALL_DECODED_BYTES: Final = 65536
_SLICE_BYTES: Final = 262144  # coded bytes given to the executor at once
_SLICE_DECODED_BYTES: Final = 1024 * 1024


class Reader(Protocol):
    """What the bytes of one body are read by: used by one thread at a time."""

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on; return the position reached, which is before the end where `steps` did not suffice."""
        ...


Peek = Callable[[bytearray, int], bool]
"""Reads the first bytes of a buffer, where they change nothing; False: they are to be fed."""

OnProgress = Callable[[], bool] | None
"""Called on the event loop when a body's reader has read on and rests; never raises; False: nothing more is wanted. None: all."""


class _Pipe:
    """Decoder and reader in a row; used by one thread at a time."""

    __slots__ = ("_at", "_piece", "_pieces", "chain", "failure", "left_bytes", "reader")

    def __init__(self, reader: Reader, chain: Chain | None, max_bytes: int) -> None:
        self.reader = reader
        self.chain = chain
        self.failure: Unmetered | None = None
        self.left_bytes = max_bytes  # of a plain body; a chain counts by itself
        self._pieces: Iterator[bytes] = iter(())
        self._piece, self._at = b"", 0

    def keep_rest(self, chunk: bytes, at: int) -> None:
        """Leave the rest of `chunk`, from `at` on, to `advance`."""
        self._piece, self._at = chunk, at

    def pass_coded(self, chunk: bytes) -> bool:
        """Decode and scan `chunk`, a small one, as far as that costs little; return False if it takes longer (`advance`)."""
        self.give((chunk,))
        return self.advance(_SMALL_DECODED_BYTES)

    def give(self, chunks: tuple[bytes, ...]) -> None:
        """Take the next chunks, for `advance`; the ones before are through."""
        self._pieces = self._decoded(chunks)

    def advance(self, max_bytes: int = _SLICE_DECODED_BYTES) -> bool:
        """Do a bounded piece of work; tell whether all that was given is through (or lost, see `failure`)."""
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
    """The way of one body to its reader: fed by the road. All of it is called on the event loop."""

    __slots__ = ("_decoders", "_job", "_on_progress", "_pipe", "_queue", "_queued_bytes", "_slice_bytes", "_waiting")

    def __init__(
        self,
        reader: Reader,
        chain: Chain | None,
        decoders: Executor,
        max_bytes: int,
        on_progress: OnProgress,
    ) -> None:
        """`most_bytes`: decoded, a body beyond it is TOO_LARGE; the tap then ignores the rest."""
        self._pipe = _Pipe(reader, chain, max_bytes)
        self._on_progress = on_progress
        self._decoders = decoders
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0  # what is in the queue, and what is in flight
        self._slice_bytes = 0  # what is in flight
        self._job: Future[bool] | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # for what is queued to be so little, or the reader to rest

    @property
    def failure(self) -> Unmetered | None:
        """Why bytes are ignored, None while they are not."""
        return self._pipe.failure

    @property
    def busy(self) -> bool:
        """Whether the reader is being used by another thread."""
        return self._job is not None

    @property
    def decoded(self) -> bool:
        """Whether the coded bytes so far end where they may end."""
        return self._pipe.chain is None or self._pipe.chain.whole

    def refuse(self, why: Unmetered) -> None:
        """Ignore all bytes from now on, because of `why`."""
        self._pipe.failure = why
        self._queue.clear()
        self._queued_bytes = self._slice_bytes = 0

    def report_progress(self, *, last: bool) -> None:
        """Say that the reader has moved, whether it has or not; behind the `last` time nobody who is told is held any longer."""
        if self._on_progress is not None:
            self._on_progress()
            if last:
                self._on_progress = None

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire. Synchronous, bounded, never raises.

        False tells that the backlog is full: await `drained` before the next chunk.
        """
        pipe, size = self._pipe, len(chunk)
        if pipe.failure is not None or not size:
            return True
        chain = pipe.chain
        if self._job is None and (chain is None or (size <= _SMALL_BYTES and not chain.long_steps)):
            if chain is not None:
                through = pipe.pass_coded(chunk)
            elif size > pipe.left_bytes:
                pipe.failure, through = Unmetered.TOO_LARGE, True
            else:  # Without a call of its own: see connection.Connection.data_received.
                pipe.left_bytes -= size
                at = pipe.reader.feed(chunk)
                through = at == size
                if not through:
                    pipe.keep_rest(chunk, at)
            if (self._on_progress is None or self._goes_on(self._on_progress)) and not through:
                self._queued_bytes = self._slice_bytes = size
                self._submit()
            return self._queued_bytes < BACKLOG_BYTES
        self._queue.append(chunk)
        self._queued_bytes += size
        if self._job is None:
            self._next_slice()
        return self._queued_bytes < BACKLOG_BYTES

    def peek(self, peek: Peek, buffer: bytearray, size: int) -> bool:
        """Take the first bytes of a buffer, where `skim`, the reader's own, needs no copy of them; False: they are to be fed."""
        pipe = self._pipe
        if pipe.failure is not None:
            return True
        if self._job is not None or pipe.chain is not None or size > pipe.left_bytes or not peek(buffer, size):
            return False
        pipe.left_bytes -= size
        return True

    def _goes_on(self, on_progress: Callable[[], bool]) -> bool:
        """Tell that the reader rests; whether it is to go on."""
        if on_progress():
            return True
        self.refuse(self._pipe.failure or Unmetered.NO_USAGE)
        return False

    async def drained(self) -> None:
        """Wait until the backlog has room again: half of it, so that not every chunk waits."""
        await self._until_queued(BACKLOG_BYTES // 2)

    async def rest(self) -> None:
        """Wait until everything that was fed is read."""
        await self._until_queued(-1)

    async def _until_queued(self, max_bytes: int) -> None:
        while self._job is not None and self._queued_bytes > max_bytes:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((max_bytes, waiter))
            await waiter

    def _wake(self) -> None:
        """Let those go on who wait for what is so now."""
        waiting, self._waiting = self._waiting, []
        for max_bytes, waiter in waiting:
            if self._job is not None and self._queued_bytes > max_bytes:
                self._waiting.append((max_bytes, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    def _next_slice(self) -> None:
        """Give the executor the next chunks that wait, if any."""
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
        except RuntimeError:  # the executor is shut down, and so is the house
            self.refuse(Unmetered.CANCELLED)
        else:
            self._job = job
            job.add_done_callback(partial(_hand_back, asyncio.get_running_loop(), self._advanced))

    def _advanced(self, job: Future[bool]) -> None:
        """A slice of work is done: go on with what is left of it, or with what waits."""
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
    """Have the loop go on with a job that is done, from the thread that did it. By a future of its own it costs twice as much."""
    with suppress(RuntimeError):  # the loop is closed, and so is the house
        loop.call_soon_threadsafe(advanced, job)
