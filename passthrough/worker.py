"""What a worker process got from its supervisor: its sockets, the folder of its peers' sockets, and the control line."""

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
"""The messages on the control line, a byte each: three orders, and two of a worker: that it serves, and that it is alive."""

BEAT_S: Final = 5.0
"""How often a worker reports that its event loop runs."""

SANDBOX: Final = 0
"""The number of the process that serves the sandbox; workers count from 1."""


LOST_BYTES: Final = 8
"""The size of a worker's count of lost entries, in the memory that all workers share."""


class Stage(IntEnum):
    """The stage of all workers together."""

    STARTING = 0
    SERVING = 1
    STOPPING = 2


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What one of `count` workers got from its supervisor.

    The sockets `traffic` and `admin` are bound and listen. `folder` has a Unix socket for each worker, named after it. `stage` is
    one byte of shared memory that the supervisor writes and all workers read; `file_users` is shared memory in which all workers
    note which clients use files; in `lost` each has a place for how many entries it lost at its stop. `line` is the control line,
    on which orders come; it ends when the supervisor does. `parent` is the supervisor's process id. `trouble` says why this
    worker starts with another configuration than the file's, None if it does not.
    """

    number: int
    count: int
    traffic: tuple[socket, ...]
    admin: tuple[socket, ...]
    sandbox: socket | None
    sandbox_port: int | None
    folder: Path
    stage: mmap
    file_users: mmap
    lost: mmap
    line: socket
    parent: int
    trouble: str | None

    @property
    def is_orphan(self) -> bool:
        """Whether the supervisor has ended."""
        return os.getppid() != self.parent

    @property
    def name(self) -> str:
        """The prefix of the worker's files in `folder`: unique, also among workers that follow each other."""
        return f"{self.number}-{os.getpid()}"

    def current_stage(self) -> Stage:
        """Return the stage of all workers together."""
        return Stage(self.stage[0])

    def note_lost(self, count: int) -> None:
        """Add entries that this worker lost at its stop to those of the workers that had its number before."""
        place = slice(self.number * LOST_BYTES, (self.number + 1) * LOST_BYTES)
        self.lost[place] = (int.from_bytes(self.lost[place]) + count).to_bytes(LOST_BYTES)

    def say_ready(self) -> None:
        """Report to the supervisor that this worker serves, and from now on that its event loop runs."""
        self._send(READY)
        self._beat(asyncio.get_running_loop())

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._send(BEAT)
        loop.call_later(BEAT_S, self._beat, loop)

    def _send(self, word: bytes) -> None:
        with suppress(OSError):  # The supervisor has ended, which is noticed elsewhere, or is paused and has not read for hours.
            self.line.send(word)

    def follow_orders(self, orders: Mapping[bytes, Callable[[], None]], orphaned: Callable[[], None]) -> None:
        """Call the handler of each order that comes, on the running event loop; `orphaned` once the supervisor has ended."""
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            try:
                received = self.line.recv(64)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            for order in received:
                orders[bytes([order])]()
            if not received:
                loop.remove_reader(self.line)
                orphaned()

        self.line.setblocking(False)
        loop.add_reader(self.line, on_readable)
