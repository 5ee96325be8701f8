"""A stream that may be slow, blocked or gone, written to by a thread of its own."""

from __future__ import annotations

import os
import select
import stat
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from threading import Event
from typing import Final, TextIO

POLL_S: Final = 0.2
"""How soon one who writes sees that the sink was given up."""

_PIPE_BYTES: Final = 4096 if sys.platform == "win32" else select.PIPE_BUF
_FILE_BYTES: Final = 65536


class StreamWriter:
    """A stream's file descriptor, written to past the stream's buffer.

    The thread may be blocked in a write when the program ends: the buffer's lock, which it would hold, is asked for at that time.
    """

    def __init__(self, stream: TextIO, turns: Path | None = None) -> None:
        """`stream` is flushed and then passed by, where it has a descriptor.

        `turns` is a file whose lock processes take in turn that share the stream: then lines do not mix that are longer than what
        a pipe takes whole either.
        """
        self._stream = stream
        self._lock_file = None if turns is None else os.open(turns, os.O_RDWR | os.O_CREAT, 0o600)
        self._descriptor = _descriptor(stream)
        # A file's reader can block nobody, and each write goes to its end whole.
        self._is_file = self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._torn = False
        self._given_up = Event()

    @property
    def given_up(self) -> bool:
        """Tell whether nothing is written any more."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Write nothing any more, and end what is waiting to be written: the descriptor may soon be another file's."""
        self._given_up.set()

    def write(self, lines: Iterable[bytes]) -> int:
        """Write lines; return how many of them were not."""
        max_bytes = _FILE_BYTES if self._is_file else _PIPE_BYTES
        return sum(_beyond(piece, self._write_locked(b"".join(piece))) for piece in _pieces(lines, max_bytes))

    def _write_locked(self, piece: bytes) -> int:
        if self._lock_file is None:
            return self._write(piece)
        import fcntl  # noqa: PLC0415 - not on Windows, where no processes share a stream

        # Whoever has it may wait for the reader: then all do.
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            return self._write(piece)
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _write(self, piece: bytes) -> int:
        """Return how many bytes of a piece were written."""
        if self._descriptor is None:
            try:
                self._stream.write(piece.decode("utf-8"))
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: it is closed
                return 0
            return len(piece)
        block = b"\n" + piece if self._torn else piece
        done = self._send(self._descriptor, block)
        if done:
            self._torn = block[done - 1 : done] != b"\n"
        return done - (len(block) - len(piece))

    def _send(self, descriptor: int, block: bytes) -> int:
        """Return how many bytes of `block` were written before it, or the descriptor, came to its end."""
        done = 0
        while done < len(block) and not self.given_up:
            try:
                if self._is_file:
                    done += os.write(descriptor, block[done:])
                # A pipe that select() calls ready takes PIPE_BUF bytes without blocking, whatever its reader does.
                elif select.select((), (descriptor,), (), POLL_S)[1] and not self.given_up:
                    done += os.write(descriptor, block[done : done + _PIPE_BYTES])
            except BlockingIOError:  # another process has filled a shared pipe in between
                continue
            except (OSError, ValueError):
                break
        return done


def _descriptor(stream: TextIO) -> int | None:
    if sys.platform == "win32":  # select() knows sockets only there
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):  # in memory, or closed
        return None


def _pieces(lines: Iterable[bytes], max_bytes: int) -> Iterator[list[bytes]]:
    """Yield lines in pieces of at most so many bytes: what a pipe takes whole, so those of several processes do not mix."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > max_bytes:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield piece


def _beyond(lines: Sequence[bytes], written: int) -> int:
    """Return how many lines end behind so many bytes."""
    ends = list(accumulate(map(len, lines)))
    return len(ends) - bisect_right(ends, written)
