"""A terminal of a given width, and what was shown on it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from tests.harness.process import WAIT_S, clean_environment


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


async def dialog(folder: Path, *arguments: str, answers: Sequence[tuple[str, str]], **more: str) -> tuple[int | None, str]:
    """Run a command on a terminal of 80 columns; return its exit code, and all that was shown.

    `answers` are pairs: once the first is shown, behind what was shown before, the second is typed, with a line feed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "passthrough", *arguments),
        cwd=folder,
        env=clean_environment(TERM="dumb", **more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # what asks for a secret asks the terminal of the session, if there is one
    )
    os.close(theirs)
    shown, seen = "", 0
    left = list(answers)

    def read() -> bytes:
        try:
            return os.read(ours, 65536)
        except OSError:  # the other end is closed (Linux)
            return b""

    try:
        async with asyncio.timeout(WAIT_S):
            while piece := await asyncio.to_thread(read):
                shown += piece.decode().replace("\r\n", "\n")
                if left and (at := shown.find(left[0][0], seen)) >= 0:
                    seen = at + len(left[0][0])
                    os.write(ours, f"{left.pop(0)[1]}\n".encode())
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        os.close(ours)
    assert [] == left, shown
    return code, shown
