"""Writes lines to a stream that may be slow, blocked or gone, and can be given up while it blocks."""

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
"""How soon a blocked write ends after `give_up`."""

_PIPE_BYTES: Final = 4096 if sys.platform == "win32" else select.PIPE_BUF
_FILE_BYTES: Final = 65536


class StreamWriter:
    """Writes to a stream's file descriptor, past the stream's buffer.

    A thread may block in a write when the program ends. It would hold the buffer's lock, which the interpreter takes at exit.
    """

    def __init__(self, stream: TextIO, lock_file: Path | None = None) -> None:
        """`stream` is flushed, and then bypassed where it has a descriptor.

        `lock_file` is locked around each write by the processes that share the stream: so lines that are longer than what a pipe
        takes whole do not mix either.
        """
        self._stream = stream
        self._lock_file = None if lock_file is None else os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        self._descriptor = _descriptor(stream)
        # A file's reader blocks no writer, and each write is appended whole.
        self._is_file = self._descriptor is not None and stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._torn = False
        self._given_up = Event()

    @property
    def given_up(self) -> bool:
        """Tell whether nothing is written any more."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Write nothing any more, and end a write that waits: the descriptor may soon be another file's."""
        self._given_up.set()

    def write(self, lines: Iterable[bytes]) -> int:
        """Write lines; return how many of them were not written."""
        max_bytes = _FILE_BYTES if self._is_file else _PIPE_BYTES
        return sum(_beyond(piece, self._write_locked(b"".join(piece))) for piece in _pieces(lines, max_bytes))

    def _write_locked(self, piece: bytes) -> int:
        if self._lock_file is None:
            return self._write(piece)
        import fcntl  # noqa: PLC0415 - not on Windows, where no processes share a stream

        # Its holder may wait for the stream's reader: then all processes do.
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            return self._write(piece)
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _write(self, piece: bytes) -> int:
        """Write a piece; return how many of its bytes were written."""
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
        """Write a block until its end, a failure or `give_up`; return how many bytes were written."""
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
    """Yield lines in pieces of at most `max_bytes`: a pipe takes such a piece whole, so those of several processes do not mix."""
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
    """Return how many lines end after the first `written` bytes."""
    ends = list(accumulate(map(len, lines)))
    return len(ends) - bisect_right(ends, written)
