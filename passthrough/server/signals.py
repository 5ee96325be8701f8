"""Signal handlers on the event loop, and the two meanings of SIGHUP."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


def on_signal(name: str, act: Callable[[], None]) -> None:
    """Call `act` on the running event loop when the signal arrives; one that the system does not have never arrives."""
    number = getattr(signal, name, None)
    if number is None:
        return
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(act))


class Hangup:
    """Tells the two meanings of SIGHUP apart: an operator's order to reload, and the end of the terminal.

    It is made before the handler is set: a process that was started with SIGHUP ignored (nohup) is to outlive its terminal.
    """

    def __init__(self) -> None:
        ignored = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._had_terminal = not ignored and _has_terminal()

    def terminal_has_gone(self) -> bool:
        """Tell whether a SIGHUP that arrived just now means that the terminal has gone."""
        return self._had_terminal and not _has_terminal()


def _has_terminal() -> bool:
    """Tell whether the process has a controlling terminal (POSIX: only then can /dev/tty be opened)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
