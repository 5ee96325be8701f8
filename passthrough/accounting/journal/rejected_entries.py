"""Keeps entries that the ledger rejects in a file beside the journal: none is thrown away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from ..entry import Entry
from .codec import encode, line
from .segment import HEAD

SUFFIX: Final = ".refused"
_MAX_IN_MEMORY: Final = 1000


class RejectedEntries:
    """One file of this process, created with the first rejected entry, in the journal's format; for any thread.

    Renamed to `.jsonl` the file is a segment of the journal, whose entries are tried again. Where it cannot be written, entries
    wait in memory; at the end, and beyond a thousand, each is written whole into a warning.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._path = folder / f"{int(time.time() * 1000):013d}-{os.urandom(4).hex()}{SUFFIX}"
        self._warn = warn
        self._waiting: list[bytes] = []
        self._lock = Lock()

    def keep(self, entry: Entry, why: str) -> None:
        """Keep an entry, and warn of it; never raises."""
        try:
            text = encode(entry)
        except Exception:  # noqa: BLE001 - the accounting loop: what cannot be encoded is kept as its repr
            text = line(repr(entry))
        with self._lock:
            self._waiting.append(text)
            kept = self._write_waiting()
            self._warn(f"Exchange {entry.id} is not booked: {why}\n{self._where(kept)}")
            if not kept and len(self._waiting) > _MAX_IN_MEMORY:
                self._warn_unkept(self._waiting.pop(0))

    def retry(self) -> None:
        """Try again to write the entries that wait in memory."""
        if self._waiting:
            with self._lock:
                self._write_waiting()

    def close(self) -> None:
        """Write what waits, or put it into warnings: it is nowhere else."""
        with self._lock:
            if not self._write_waiting():
                for text in self._waiting:
                    self._warn_unkept(text)
            self._waiting = []

    def _where(self, kept: bool) -> str:
        if kept:
            return f"{self._path} keeps it: renamed to {self._path.stem}.jsonl it is tried again."
        return f"It waits in memory, for {self._path} cannot be written."

    def _warn_unkept(self, text: bytes) -> None:
        self._warn(f"An entry that is not booked, and that no file could keep: {text.decode('ascii').rstrip()}")

    def _write_waiting(self) -> bool:
        """Append all that waits, and return True; False where it cannot be written."""
        if not self._waiting:
            return True
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError:
            return False
        try:
            size = os.fstat(descriptor).st_size
            _write(descriptor, size, b"".join([*([] if size else [HEAD]), *self._waiting]))
        except OSError:
            return False
        finally:
            os.close(descriptor)
        self._waiting = []
        return True


def _write(descriptor: int, size: int, block: bytes) -> None:
    """Append a block and flush it to the disk; all of it, or none where it raises OSError."""
    try:
        done = 0
        while done < len(block):
            done += os.write(descriptor, block[done:])
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
