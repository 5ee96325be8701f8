"""Runs blocking work on a thread, and never leaves it running behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises. A caller that is cancelled meanwhile waits for its end.

    Otherwise the thread would write into a folder that its caller removes.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # it is seen: the caller's cancellation comes first
        raise
