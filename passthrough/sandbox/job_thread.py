"""One thread for work that must not run on the event loop, one job after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..errors import PassthroughError

T = TypeVar("T")
Gone = Callable[[], bool]
"""Tells a running job that nobody waits for it any more."""


class Abandoned(PassthroughError):
    """Nobody waited for the job any more, so that it stopped half-way; nobody sees this either."""


class JobThread:
    """A queue of jobs and the one thread that does them: pdfium is not thread safe, and the order is kept."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closing = threading.Event()

    async def do(self, job: Callable[[Gone], T]) -> T:
        """Return what `job` returns, or raise what it raises.

        Cancelled while it waits, the job is never begun; while it runs, it learns so from its argument and ends by itself.
        """
        left = threading.Event()
        gone: Gone = lambda: left.is_set() or self._closing.is_set()  # noqa: E731 (one expression, named by its type)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job, gone)
        finally:
            left.set()

    def queue(self, job: Callable[[], object]) -> None:
        """Have `job` done after all that were asked for before, without waiting for it."""
        self._pool.submit(job)

    async def close(self) -> None:
        """Tell the running job to end, drop those that wait for an answer, and wait for the thread. Idempotent."""
        self._closing.set()
        await asyncio.to_thread(self._pool.shutdown)
