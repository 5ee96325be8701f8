"""Work that goes on to its end though its caller is cancelled: on a thread, which is never left behind, or on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, on_stopped: Callable[[T], object] = lambda _: None) -> T:
    """Return what `work` returns, or raise what it raises. A caller that is cancelled meanwhile waits for its end, however often.

    Otherwise the thread would write into a folder that its caller removes. `on_stopped` gets what was returned to such a caller.
    """
    # A future: the end of the loop cancels tasks only.
    return await _ended(asyncio.get_running_loop().run_in_executor(None, work), on_stopped)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or raise what it raises. A caller that is cancelled meanwhile waits for its end, too."""
    return await _ended(asyncio.ensure_future(work), lambda _: None)


async def _ended(running: asyncio.Future[T], on_stopped: Callable[[T], object]) -> T:
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if running.exception() is None:  # it is seen: the caller's cancellation comes first
            on_stopped(running.result())
        raise cancelled
    return running.result()
