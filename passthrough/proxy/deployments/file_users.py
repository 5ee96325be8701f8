"""Which clients use files on which endpoint, one byte each: in memory that all workers share, and in a file for the next start.

What is noted is never taken back. The byte is that of a hash: two clients may share one, and then the single OCR calls of both
stay with their targets, which is always right. The file is written on a thread and read at the start only: a disk that is full,
slow or away, or a file that another program cuts short, costs what the next start knows, and no request.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable
from hashlib import blake2b
from mmap import mmap
from pathlib import Path
from typing import Final

FLAGS: Final = 65536
"""How many bytes the memory and the file have."""

NAME: Final = "file-users"
"""The file's name, in the journal's folder."""

_SET: Final = re.compile(rb"[^\0]+")
_NO_OTHER: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # not on Windows
"""A link in the file's place is not followed, and a pipe is not waited for."""


class FileUsers:
    """What is known of the clients. `uses` and `note` are called on the event loop, and never wait."""

    def __init__(
        self, flags: mmap | bytearray | None = None, file: Path | None = None, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        """Read what the file has; one that is missing is made when there is something to note.

        `flags` are the shared memory, None: this process is alone. `file` None: the next start knows nothing.
        """
        self._flags = bytearray(FLAGS) if flags is None else flags
        self._file = file
        self._warn = warn
        self._failed = False
        self._saving = threading.Lock()  # one at a time: the last to end would else say how the one before it went
        if file is not None:
            self._load(file)

    def uses(self, endpoint: str, client: str) -> bool:
        """Tell whether the client may have used files on this endpoint; False: it has not."""
        return self._flags[_place(endpoint, client)] != 0

    def note(self, endpoint: str, client: str) -> None:
        """Note that the client uses files on this endpoint. All workers know it at once."""
        place = _place(endpoint, client)
        if self._flags[place]:
            return
        self._flags[place] = 1
        if self._file is not None:
            asyncio.get_running_loop().run_in_executor(None, self._save, self._file)

    def _load(self, file: Path) -> None:
        try:
            opened = os.open(file, os.O_RDONLY | _NO_OTHER)
        except FileNotFoundError:
            return
        except OSError as error:
            self._tell(file, error)
            return
        try:
            saved = os.read(opened, FLAGS)
        except OSError as error:
            self._tell(file, error)
            return
        finally:
            os.close(opened)
        for found in _SET.finditer(saved):
            self._flags[found.start() : found.end()] = b"\1" * (found.end() - found.start())

    def _save(self, file: Path) -> None:
        """Write every byte that is set, and no other: so workers never undo each other's, and a file that was cut is mended."""
        with self._saving:
            try:
                self._write(file)
            except OSError as error:
                self._tell(file, error)
            else:
                self._failed = False

    def _write(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | _NO_OTHER, 0o600)
        try:
            for found in _SET.finditer(bytes(self._flags)):
                os.lseek(opened, found.start(), os.SEEK_SET)
                os.write(opened, found.group())
        finally:
            os.close(opened)

    def _tell(self, file: Path, error: OSError) -> None:
        """Warn, once until it works again."""
        if not self._failed:
            self._failed = True
            self._warn(
                f"{file}: which clients use files cannot be kept for the next start: {error.strerror}.\n"
                "Until they use files again, their single OCR calls may then go to another target than their files."
            )


def _place(endpoint: str, client: str) -> int:
    """Return where a client's byte is."""
    return int.from_bytes(blake2b(f"{endpoint}\0{client}".encode("utf-8", "surrogatepass"), digest_size=2).digest())
