"""Runs blocking work on a thread, and never leaves it running behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises. A caller that is cancelled meanwhile waits for its end, however often.

    Otherwise the thread would write into a folder that its caller removes.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)  # a future: the end of the loop cancels tasks only
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()  # it is seen: the caller's cancellation comes first
        raise cancelled
    return running.result()
