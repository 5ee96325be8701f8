"""What the workers of one program share (ports, a folder, the stage), and the fork that gives each worker its part."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from mmap import mmap
from pathlib import Path
from socket import socket, socketpair
from typing import Final

from ..config.model import Listen
from ..proxy.deployments.file_users import FLAGS
from ..worker import LOST_BYTES, SANDBOX, Stage, WorkerContext
from .ports import ListenError, bind_sockets, url

_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD")
_MAX_PATH: Final = 60  # bytes of the folder's place


class SharedResources:
    """The ports, a folder for the workers' own sockets, shared memory, and the pipe by which signals wake the supervisor."""

    def __init__(self, listen: Listen, *, sandbox: bool) -> None:
        """Take the ports and the signals: each signal arrives as a byte in `wakes`. Raises ListenError."""
        self._listen = listen
        self._traffic = bind_sockets(listen.host, listen.port, listen.workers)
        self._admin = bind_sockets(listen.admin_host, listen.admin_port)[0]
        self._sandbox = bind_sockets("127.0.0.1", 0)[0][0] if sandbox else None
        self.sandbox_port = None if self._sandbox is None else int(self._sandbox.getsockname()[1])
        self._stage = mmap(-1, 1)
        self._file_users = mmap(-1, FLAGS)
        self._lost = mmap(-1, LOST_BYTES * (listen.workers + 1))
        self.wakes, self._wakes_writer = socketpair()
        self._wake_on_signals()
        self._folder = _folder()  # the last: from here on it is removed however the process ends

    @property
    def stage(self) -> Stage:
        """The stage of all workers together; they see a change at once."""
        return Stage(self._stage[0])

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._stage[0] = stage

    @property
    def lost(self) -> int:
        """How many entries all workers, those that were replaced too, have lost at their stop."""
        return sum(int.from_bytes(self._lost[at : at + LOST_BYTES]) for at in range(0, len(self._lost), LOST_BYTES))

    @property
    def urls(self) -> tuple[str, str]:
        """The URLs of the traffic port and of the admin port."""
        return url("https" if self._listen.tls_cert else "http", self._traffic[0]), url("http", self._admin)

    def _wake_on_signals(self) -> None:
        """Have each signal written into `wakes`, as a byte with its number."""
        self.wakes.setblocking(False)
        self._wakes_writer.setblocking(False)
        signal.set_wakeup_fd(self._wakes_writer.fileno(), warn_on_full_buffer=False)
        for name in _SIGNALS:
            signal.signal(getattr(signal, name), lambda *_: None)

    def fork(self, number: int, lines: Collection[socket], trouble: str | None) -> tuple[int, socket] | WorkerContext:
        """Fork a worker. In the supervisor, return its process and our end of its line; in the worker, return its context.

        `lines` are our ends of the other workers' lines; `trouble` goes into the context. Raises OSError.
        """
        ours, theirs = socketpair()
        # No signal may arrive in between: the child has our handlers, and our pipe behind them, until it has its own.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in _SIGNALS])
        try:
            pid = os.fork()
            if pid == 0:
                return replace(self._worker(number, theirs, (ours, *lines)), trouble=trouble)
        except OSError:
            ours.close()
            theirs.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        theirs.close()
        ours.setblocking(False)
        return pid, ours

    def _worker(self, number: int, line: socket, lines: Collection[socket]) -> WorkerContext:
        """Return the context of a worker, in its own process.

        What belongs to the supervisor or to another worker alone is closed here. A copy that stayed open would hide the end of
        that process, and would keep its port open.
        """
        signal.set_wakeup_fd(-1)
        # A terminal sends these to the whole group; the supervisor orders what they mean.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        is_sandbox = number == SANDBOX
        kept = () if is_sandbox else (*self._traffic[number - 1], *self._admin)
        given = (*(each for group in self._traffic for each in group), *self._admin)
        others = [self._sandbox] if self._sandbox is not None and not is_sandbox else []
        for each in (self.wakes, self._wakes_writer, *lines, *(each for each in given if each not in kept), *others):
            each.close()
        return WorkerContext(
            number=number,
            count=self._listen.workers,
            traffic=() if is_sandbox else self._traffic[number - 1],
            admin=() if is_sandbox else self._admin,
            sandbox=self._sandbox if is_sandbox else None,
            sandbox_port=self.sandbox_port,
            folder=self._folder,
            stage=self._stage,
            file_users=self._file_users,
            lost=self._lost,
            line=line,
            parent=os.getppid(),
            trouble=None,
        )

    def forget(self, pid: int) -> None:
        """Remove the socket that a worker left behind; its metrics stay, so that sums never fall."""
        for leftover in self._folder.glob(f"*-{pid}.sock"):
            leftover.unlink(missing_ok=True)

    def close_ports(self) -> None:
        """Stop listening; the workers have sockets of their own. Idempotent."""
        for sockets in (*self._traffic, self._admin):
            for each in sockets:
                each.close()

    def close(self) -> None:
        """Release everything, once no worker is left."""
        self.close_ports()
        with suppress(ValueError):  # Not of the main thread.
            signal.set_wakeup_fd(-1)
        for each in (self.wakes, self._wakes_writer, *([] if self._sandbox is None else [self._sandbox])):
            each.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _folder() -> Path:
    """Return a new private folder; its name is short enough for a socket in it (macOS: 104 bytes in all). Raises ListenError."""
    try:
        usual = tempfile.gettempdir()
        return Path(tempfile.mkdtemp(prefix="passthrough-", dir=usual if len(os.fsencode(usual)) <= _MAX_PATH else "/tmp"))  # noqa: S108 - the folder in it is private
    except OSError as error:
        raise ListenError(f"Workers need a folder for their sockets: {error.strerror}.\n  Let TMPDIR name one.") from None
