"""The signals that stop a run of `passthrough ocr`: SIGTERM and SIGHUP, as Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

_STOPS: Final = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What stops a run as Ctrl-C does; SIGHUP comes where its terminal is closed. The exit code is 128 and its number."""


class Stopped(BaseException):
    """A signal came that stops the run."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def stop_signals() -> Iterator[None]:
    """Have the signals raise Stopped meanwhile, wherever the program is; inside of an event loop `to_the_end` takes them."""
    before = {each: signal.signal(each, _stop) for each in _heeded()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _heeded() -> list[int]:
    """Return the signals that stop a run: not those that it is to ignore (`nohup`)."""
    return [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]


def _stop(number: int, _: object) -> None:
    raise Stopped(number)


def to_the_end(start: Callable[[Callable[[], object]], Coroutine[Any, Any, int]]) -> int:
    """Run to the end, or to the first signal, after which uploads are deleted. Raises KeyboardInterrupt for SIGINT, Stopped.

    `start` gets what cancels the run.
    """
    came: list[int] = []

    async def stoppable() -> int:
        task = asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            came.append(number)
            task.cancel()

        for each in _heeded() if sys.platform != "win32" else ():
            asyncio.get_running_loop().add_signal_handler(each, stop, each)
        return await start(task.cancel)

    try:
        with asyncio.Runner() as runner:
            return runner.run(stoppable())
    except asyncio.CancelledError:
        raise Stopped(came[0] if came else signal.SIGTERM) from None
