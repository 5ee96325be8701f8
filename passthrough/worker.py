"""What a worker has from its parent: its sockets, the way to the others, and the line on which orders come."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from pathlib import Path
from socket import socket
from typing import Final

RELOAD: Final = b"r"
STOP: Final = b"s"
FORCE_STOP: Final = b"h"
READY: Final = b"+"
BEAT: Final = b"."
"""What is said on the line, a byte each: three orders, and what a worker says: that it serves, and then that it lives."""

BEAT_S: Final = 5.0
"""How often a worker says that its event loop runs."""

SANDBOX: Final = 0
"""The number of the process that serves the sandbox; workers are counted from 1."""


class Stage(IntEnum):
    """Where all workers together stand."""

    STARTING = 0
    SERVING = 1
    STOPPING = 2


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One worker's place among `count`.

    `traffic` and `admin` are bound and listen. `folder` holds a Unix socket for each worker, named after it. `stage` is one byte
    of memory that the parent writes and all workers read. On `line` orders come; its end is the parent's end. `parent` is its
    process. `trouble` says why the configuration that this worker begins with is not what the file holds, None where it is.
    """

    number: int
    count: int
    traffic: tuple[socket, ...]
    admin: tuple[socket, ...]
    sandbox: socket | None
    sandbox_port: int | None
    folder: Path
    stage: mmap
    line: socket
    parent: int
    trouble: str | None

    @property
    def is_orphan(self) -> bool:
        """Whether the parent has gone."""
        return os.getppid() != self.parent

    @property
    def name(self) -> str:
        """What the worker's files in `folder` begin with: no two workers have the same, not one after the other either."""
        return f"{self.number}-{os.getpid()}"

    def stands(self) -> Stage:
        """Return where all workers together stand now."""
        return Stage(self.stage[0])

    def say_ready(self) -> None:
        """Tell the parent that this worker serves, and from now on that its event loop runs."""
        self._say(READY)
        self._beat(asyncio.get_running_loop())

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._say(BEAT)
        loop.call_later(BEAT_S, self._beat, loop)

    def _say(self, word: bytes) -> None:
        with suppress(OSError):  # The parent has gone, which is heard of elsewhere, or is stopped and has not read for hours.
            self.line.send(word)

    def obey(self, orders: Mapping[bytes, Callable[[], None]], orphaned: Callable[[], None]) -> None:
        """Call what belongs to each order when it comes, on the running event loop; `orphaned` once the parent has gone."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            try:
                come = self.line.recv(64)
            except BlockingIOError:
                return
            except OSError:
                come = b""
            for order in come:
                orders[bytes([order])]()
            if not come:
                loop.remove_reader(self.line)
                orphaned()

        self.line.setblocking(False)
        loop.add_reader(self.line, heard)
