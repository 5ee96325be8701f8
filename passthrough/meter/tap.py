"""Brings the passing bytes of one answer to its shape, without holding them or the event loop.

Plain bytes are scanned at once, where they pass: that costs less than handing them over. What is coded, and what is so dense that
it would take long, goes to an executor in slices, one slice in flight for each answer, in order. What waits there is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Final, Protocol

from .decode import Chain, Oversized, Undecodable
from .scan import STEPS, Scanner
from .usage import Unmetered, Usage
from .wanted import Node, Value

BACKLOG_BYTES: Final = 1024 * 1024
"""The backlog, in bytes as they came, beyond which `feed` asks for a pause."""

_SMALL_BYTES: Final = 4096  # coded bytes decoded where they pass: handing them over would cost more
_SMALL_DECODED_BYTES: Final = 65536
_SLICE_BYTES: Final = 262144  # coded bytes given to the executor at once
_SLICE_DECODED_BYTES: Final = 1024 * 1024


class Shape(Protocol):
    """What a usage looks like in answers of one kind."""

    @property
    def wanted(self) -> Node:
        """The paths that are looked for."""
        ...

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path (scan.Emit)."""
        ...

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the usage that was found; where no count was complete, `otherwise` is why."""
        ...


class _Pipe:
    """Decoder and scanner in a row; used by one thread at a time."""

    __slots__ = ("_at", "_left_bytes", "_piece", "_pieces", "chain", "failure", "scanner")

    def __init__(self, scanner: Scanner, chain: Chain | None, most_bytes: int) -> None:
        self.scanner = scanner
        self.chain = chain
        self.failure: Unmetered | None = None
        self._left_bytes = most_bytes  # of a plain body; a chain counts by itself
        self._pieces: Iterator[bytes] = iter(())
        self._piece, self._at = b"", 0

    def pass_plain(self, chunk: bytes) -> bool:
        """Scan `chunk`; return False if that takes longer: then `advance` does the rest."""
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            self.failure = Unmetered.TOO_LARGE
            return True
        at = self.scanner.feed(chunk)
        if at == len(chunk):
            return True
        self._piece, self._at = chunk, at
        return False

    def give(self, chunks: tuple[bytes, ...]) -> None:
        """Take the next chunks, for `advance`; the ones before are through."""
        self._pieces = self._decoded(chunks)

    def advance(self, most_bytes: int = _SLICE_DECODED_BYTES) -> bool:
        """Do a bounded piece of work; tell whether all that was given is through (or lost, see `failure`)."""
        try:
            while most_bytes > 0:
                if self._at == len(self._piece):
                    piece = next(self._pieces, None)
                    if piece is None:
                        self._piece, self._at = b"", 0
                        return True
                    self._piece, self._at = piece, 0
                    most_bytes -= max(len(piece), 1024)
                self._at = self.scanner.feed(self._piece, self._at, STEPS)
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
            elif self._left_bytes < len(chunk):
                raise Oversized("a plain body beyond the bound")
            else:
                self._left_bytes -= len(chunk)
                yield chunk


class Meter:
    """The meter of one answer: fed by the road, read by the books (exchange.Reading). All of it is called on the event loop."""

    __slots__ = ("_cut", "_decoders", "_ended", "_job", "_pipe", "_queue", "_queued_bytes", "_shape", "_slice_bytes")

    def __init__(self, shape: Shape, chain: Chain | None, decoders: Executor, most_bytes: int) -> None:
        """`most_bytes`: decoded, an answer beyond it is TOO_LARGE; the meter then ignores the rest."""
        self._shape = shape
        self._pipe = _Pipe(Scanner(shape.wanted, shape.take), chain, most_bytes)
        self._decoders = decoders
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0  # what is in the queue, and what is in flight
        self._slice_bytes = 0  # what is in flight
        self._job: asyncio.Future[bool] | None = None
        self._ended = False
        self._cut: Unmetered | None = None

    def refuse(self, why: Unmetered) -> None:
        """Ignore all bytes from now on, because of `why`."""
        self._pipe.failure = why
        self._queue.clear()
        self._queued_bytes = self._slice_bytes = 0

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire. Synchronous, bounded, never raises.

        False tells that the backlog is full: await `drained` before the next chunk.
        """
        pipe = self._pipe
        if pipe.failure is not None or self._ended or not chunk:
            return True
        if self._job is None:
            if pipe.chain is None:
                if pipe.pass_plain(chunk):
                    return True
                self._queued_bytes = self._slice_bytes = len(chunk)
                self._submit()
                return self._queued_bytes < BACKLOG_BYTES
            if len(chunk) <= _SMALL_BYTES:
                pipe.give((chunk,))
                if pipe.advance(_SMALL_DECODED_BYTES):
                    return True
                self._queued_bytes = self._slice_bytes = len(chunk)
                self._submit()
                return True
        self._queue.append(chunk)
        self._queued_bytes += len(chunk)
        if self._job is None:
            self._next_slice()
        return self._queued_bytes < BACKLOG_BYTES

    async def drained(self) -> None:
        """Wait until the backlog has room again: half of it, so that not every chunk waits."""
        while self._job is not None and self._queued_bytes > BACKLOG_BYTES // 2:
            await asyncio.wait((self._job,))

    def end(self, cut: Unmetered | None = None) -> None:
        """Say that no more bytes come; `cut` is why the answer did not arrive whole, None if it did. The first call counts."""
        if not self._ended:
            self._ended, self._cut = True, cut

    async def usage(self) -> Usage:
        """Return what was found, after what is still being decoded. Never raises for the answer's bytes.

        A count that was complete holds, whatever became of the rest: the provider has told what it bills. A meter that was never
        told its end is BROKEN.
        """
        while self._job is not None:
            await asyncio.wait((self._job,))
        return self._shape.usage(self._otherwise())

    def at_once(self) -> Usage | None:
        """Return what `usage` would, where nothing is being decoded any more; None where that must be awaited."""
        return None if self._job is not None else self._shape.usage(self._otherwise())

    def _otherwise(self) -> Unmetered:
        """Return why there is no count, if there is none."""
        pipe = self._pipe
        if not self._ended:
            return Unmetered.BROKEN
        if self._cut is not None:
            return self._cut
        if pipe.failure is not None:
            return pipe.failure
        if pipe.chain is not None and not pipe.chain.whole:
            return Unmetered.UNKNOWN_CODING
        pipe.scanner.end()
        return Unmetered.NO_USAGE if pipe.scanner.whole or pipe.scanner.empty else Unmetered.NOT_JSON

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
        loop = asyncio.get_running_loop()
        try:
            self._job = loop.run_in_executor(self._decoders, self._pipe.advance)
        except RuntimeError:  # the executor is shut down, and so is the house
            self.refuse(Unmetered.CANCELLED)
        else:
            self._job.add_done_callback(self._advanced)

    def _advanced(self, job: asyncio.Future[bool]) -> None:
        """A slice of work is done: go on with what is left of it, or with what waits."""
        self._job = None
        if job.cancelled():
            self.refuse(Unmetered.CANCELLED)
        elif error := job.exception():
            self.refuse(Unmetered.UNKNOWN_CODING)
            job.get_loop().call_exception_handler({"message": "The meter failed.", "exception": error})
        elif self._pipe.failure is not None:
            self.refuse(self._pipe.failure)
        elif not job.result():
            self._submit()
        else:
            self._queued_bytes -= self._slice_bytes
            self._next_slice()
