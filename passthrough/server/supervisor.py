"""The parent process of several workers: starts them, passes on signals and reloads, and replaces a worker that dies.

The workers are forked from a process that has read and checked the configuration, holds the ports, and has no threads: they
share its memory, and a replacement begins with the last good configuration. The supervisor itself serves nothing.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from socket import socket
from typing import Final

from ..config import announce
from ..config.model import Config
from ..config.reload import LOOK_EVERY_S, SETTLED_S, Sources, WatchedFiles, check_guarded
from ..errors import ConfigError, LostEntriesError, PassthroughError
from ..worker import FORCE_STOP, READY, RELOAD, SANDBOX, STOP, Stage, WorkerContext
from .first_messages import started
from .fork import SharedResources
from .gc_tuning import YOUNG, freeze_heap, without_gc
from .signals import Hangup

EARLY_EXIT_S: Final = 10.0
"""A worker that ends sooner than this after its start may do so again and again."""

MAX_EARLY_EXITS: Final = 5
EARLY_EXITS_WITHIN_S: Final = 60.0
"""MAX_EARLY_EXITS within this time stop the whole program."""

SILENT_S: Final = 30.0
"""A worker whose event loop has not run for this time is killed: a stopped or hung one keeps its share of the connections."""

_GRACE_S: Final = 30.0  # beyond the drain time-out: to cut off what is left, and to write the ledger
_RESTART_PAUSE_S: Final = 0.1  # before a worker that ended early is replaced; doubled with each
_FORK_RETRY_S: Final = 1.0  # until a fork is tried again that found no process, or no memory

_log: Final = logging.getLogger("passthrough")


class SupervisorError(PassthroughError):
    """The workers cannot be kept alive; the message says why and gives a hint."""


@dataclass(slots=True)
class _Child:
    """A worker process: its number among the workers, our end of its line, when it was started (monotonic).

    `silent_s` is for how long no beat of it came while the supervisor listened.
    """

    number: int
    pid: int
    line: socket
    began: float
    ready: bool = False
    ended: bool = False
    silent_s: float = 0.0

    @property
    def label(self) -> str:
        """Its name in log messages."""
        return f"{'The sandbox' if self.number == SANDBOX else f'Worker {self.number}'} (process {self.pid})"


class Supervisor:
    """Keeps the workers of one program running. Its process has no threads and no event loop."""

    def __init__(
        self,
        config: Config,
        sources: Sources,
        seen: bytes,
        *,
        sandbox: bool,
        reopen_log: Callable[[], None],
        notify_ready: Callable[[], None],
    ) -> None:
        """Take the ports. `seen` is the snapshot of the files that was taken before `config` was read. Raises ListenError.

        `reopen_log` opens the log file that workers will inherit by its name once more. `notify_ready` is called once all serve.
        """
        self.config = config
        self._start_config = config
        self._sources = sources
        self._files = WatchedFiles(sources, seen, config)
        self._reopen_log = reopen_log
        self._notify_ready = notify_ready
        self._hangup = Hangup()
        self._resources = SharedResources(config.listen, sandbox=sandbox)
        self._children: dict[int, _Child] = {}
        self._start_times = dict.fromkeys(range(SANDBOX if sandbox else 1, config.listen.workers + 1), 0.0)
        self._early_exits: deque[float] = deque()
        self._next_look = 0.0
        self._listened_at = time.monotonic()
        self._kill_deadline: float | None = None
        self._exit_code = 0
        self._failure = ""
        self._trouble: str | None = None

    def run(self) -> WorkerContext | None:
        """Return as fork does: in each worker its context; in the parent None, once all have ended as ordered.

        Raises SupervisorError, and LostEntriesError where workers lost entries at their stop. Exits with a worker's exit code
        where that worker could not start (it has logged why).
        """
        freeze_heap(YOUNG)
        while self._start_times or self._children:
            for number in [number for number, at in self._start_times.items() if at <= time.monotonic()]:
                if (worker := self._start_worker(number)) is not None:
                    return worker
            self._wait()
        lost = self._resources.lost
        self._resources.close()
        if self._failure:
            raise SupervisorError(self._failure)
        check_lost(lost)
        if self._exit_code:
            sys.exit(self._exit_code)
        return None

    def _start_worker(self, number: int) -> WorkerContext | None:
        try:
            forked = self._resources.fork(number, [child.line for child in self._children.values()], self._trouble)
        except OSError as error:
            _log.error("Worker %d cannot be started now: %s.", number, error.strerror)
            self._start_times[number] = time.monotonic() + _FORK_RETRY_S
            return None
        if isinstance(forked, WorkerContext):
            return forked
        pid, line = forked
        del self._start_times[number]
        self._children[pid] = _Child(number, pid, line, time.monotonic())
        return None

    # ── events ──

    def _wait(self) -> None:
        """Wait for the next event (a signal, a worker's beat or end, a deadline) and handle it."""
        deadlines = [
            *self._start_times.values(),
            self._next_look,
            *([] if self._kill_deadline is None else [self._kill_deadline]),
        ]
        lines = {child.line: child for child in self._children.values() if not child.ended}
        wakes = self._resources.wakes
        readable, _, _ = select.select([wakes, *lines], [], [], max(0.0, min(deadlines) - time.monotonic()))
        if wakes in readable:
            for number in wakes.recv(4096):
                self._handle_signal(number)
        speakers = [lines[line] for line in readable if line in lines]
        self._read_lines(speakers)
        self._kill_silent(speakers)
        self._reap()
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._check_files()
        if self._kill_deadline is not None and now >= self._kill_deadline:
            self._kill_deadline = None
            self._kill()

    def _handle_signal(self, number: int) -> None:
        """Stop or reload, as the signal means."""
        if number in {signal.SIGTERM, signal.SIGINT} or (number == signal.SIGHUP and self._hangup.terminal_has_gone()):
            self._stop()
        elif number == signal.SIGHUP:
            self._reload()

    def _read_lines(self, speakers: Iterable[_Child]) -> None:
        """Note which workers are alive and ready; once all are, log where they listen."""
        for child in speakers:
            received = b""
            with suppress(OSError):
                received = child.line.recv(4096)
            child.ended = not received
            if READY in received and not child.ready:
                child.ready = True
                if self._resources.stage is Stage.SERVING:
                    _log.info("%s serves.", child.label)
        if (
            self._resources.stage is Stage.STARTING
            and not self._start_times
            and all(child.ready for child in self._children.values())
        ):
            self._resources.stage = Stage.SERVING
            sandbox = self._resources.sandbox_port is not None
            self._log_messages(announce.adopted(self.config, self.config))
            self._log_messages(started(self.config, *self._resources.urls, sandbox=sandbox))
            pids = [str(child.pid) for child in self._children.values() if child.number != SANDBOX]
            _log.info("%d workers: processes %s.", len(pids), ", ".join(pids))
            self._notify_ready()

    def _kill_silent(self, speakers: Collection[_Child]) -> None:
        """Kill each worker that serves and was silent for too long; `speakers` are those that sent a byte just now.

        Only the time counts in which this process listened. It wakes every few seconds: a longer pause is its own, or the
        machine's, and no worker's silence.
        """
        now = time.monotonic()
        listened_s, self._listened_at = min(now - self._listened_at, 2 * LOOK_EVERY_S), now
        for child in self._children.values():
            if not child.ready or self._resources.stage is Stage.STOPPING:
                continue
            child.silent_s = 0.0 if child in speakers else child.silent_s + listened_s
            if child.silent_s >= SILENT_S:
                child.silent_s = 0.0
                _log.error("%s has shown no sign of life for %g s, and is killed.", child.label, SILENT_S)
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Handle every process that has ended. Process 1 of a container is also given the orphans of others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                child.line.close()
                self._resources.forget(pid)
                self._handle_exit(child, os.waitstatus_to_exitcode(status))

    def _handle_exit(self, child: _Child, code: int) -> None:
        """Handle a worker's end: (1) all are stopping: nothing follows; (2) it could not start: stop; (3) it died: replace it."""
        ended = (
            f"{child.label} {f'was ended by {signal.Signals(-code).name}' if code < 0 else f'has ended with exit code {code}'}"
        )
        if self._resources.stage is Stage.STOPPING:
            # A worker that has just begun does not handle the signal yet, which a service manager may send to all.
            if code and (child.ready or code != -signal.SIGTERM):
                _log.error("%s.", ended)
                self._exit_code = self._exit_code or 1
            self._send_order(STOP, sandbox=True)
            return
        if code > 0 and not child.ready and self._resources.stage is Stage.STARTING:
            self._exit_code = code  # It has logged why.
            self._stop()
            return
        pause_s = self._restart_pause_s(child)
        if pause_s is None:
            _log.error("%s.", ended)
            self._failure = (
                f"{MAX_EARLY_EXITS} times within a minute a worker ended soon after its start.\n  Their messages may tell why."
            )
            self._stop()
            return
        _log.warning("%s; another takes its place.", ended)
        self._start_times[child.number] = time.monotonic() + pause_s

    def _restart_pause_s(self, child: _Child) -> float | None:
        """Return how long to wait before a worker is replaced; None where that has failed too often."""
        now = time.monotonic()
        while self._early_exits and self._early_exits[0] < now - EARLY_EXITS_WITHIN_S:
            self._early_exits.popleft()
        if now - child.began >= EARLY_EXIT_S:
            return 0.0
        self._early_exits.append(now)
        return None if len(self._early_exits) >= MAX_EARLY_EXITS else _RESTART_PAUSE_S * 2.0 ** len(self._early_exits)

    # ── orders ──

    def _log_messages(self, messages: announce.Messages) -> None:
        for level, text in messages:
            _log.log(level, "%s", text)

    def _send_order(self, order: bytes, *, sandbox: bool = False) -> None:
        """Send an order to all workers, or to the sandbox, which gets none while a worker is left: it serves them until then."""
        if sandbox and any(child.number != SANDBOX for child in self._children.values()):
            return
        for child in self._children.values():
            if (child.number == SANDBOX) == sandbox:
                with suppress(OSError):  # It has ended, or does not read any more: it is killed in the end.
                    child.line.send(order)

    def _stop(self) -> None:
        """Have all workers drain; a second call forces the stop."""
        if self._resources.stage is Stage.STOPPING:
            self._send_order(FORCE_STOP)
            return
        self._resources.stage = Stage.STOPPING
        self._start_times.clear()
        # Only the supervisor's own: a connection there would never be accepted. Workers have sockets of their own.
        self._resources.close_ports()
        self._send_order(STOP)
        self._send_order(STOP, sandbox=True)
        listen = self._start_config.listen
        self._kill_deadline = time.monotonic() + listen.drain_delay_s + listen.drain_timeout_s + _GRACE_S

    def _kill(self) -> None:
        for child in self._children.values():
            _log.error("%s has not ended in time, and is killed.", child.label)
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _check_files(self) -> None:
        """Reload when the files have changed."""
        found = self._files.look()
        if found != self._files.noted:
            time.sleep(SETTLED_S)
            if found == self._files.look():
                self._reload()

    def _reload(self) -> None:
        """Read the configuration, for replacements of dead workers, and have each worker read it too; and so the log file."""
        if self._resources.stage is Stage.STOPPING:
            return
        self._reopen_log()
        self._files.note()
        try:
            config = without_gc(self._sources.load)
            check_guarded(config, self._start_config.listen.host)
            self._files.follow(config)
        except (ConfigError, OSError) as error:
            self._trouble = announce.not_reloaded(error)
            _log.error("%s", self._trouble)
        else:
            self._log_messages(announce.adopted(config, self.config))
            self._log_messages(announce.reloaded(config, self._start_config))
            self.config = config
            self._trouble = None
            freeze_heap()
        self._send_order(RELOAD)


def check_lost(lost: int) -> None:
    """Raise LostEntriesError where that many entries, more than none, reached neither the ledger nor the journal by the stop."""
    if lost:
        entries = "1 entry was" if lost == 1 else f"{lost} entries were"
        raise LostEntriesError(
            f"{entries} lost at the stop: neither the ledger nor its journal could be written.\n"
            "They are in the log only; budgets and usage do not count them."
        )
