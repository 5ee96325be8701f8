"""A terminal of a given width, and what was shown on it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest


@contextmanager
def terminal(width: int, **environ: str) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """Yield a stream to a terminal of `width` columns, and a function that returns what it showed, once the block is left.

    Inside the block the environment says what `environ` does of terminals.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    shown: list[bytes] = []

    def read() -> None:
        while True:
            try:
                shown.append(os.read(ours, 65536))
            except OSError:  # the other end is closed (Linux)
                return
            if not shown[-1]:  # the same elsewhere
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with pytest.MonkeyPatch.context() as patch, os.fdopen(theirs, "w") as stream:
            for name in ("TERM", "NO_COLOR"):
                patch.delenv(name, raising=False)
            for name, value in environ.items():
                patch.setenv(name, value)
            yield stream, lambda: b"".join(shown).decode().replace("\r\n", "\n")
    finally:
        reader.join()
        os.close(ours)
