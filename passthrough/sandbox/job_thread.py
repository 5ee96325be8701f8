"""A single worker thread for jobs that must not run on the event loop, one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..errors import PassthroughError

T = TypeVar("T")
IsCancelled = Callable[[], bool]
"""Returns True once the caller of a running job no longer waits for it."""


class JobCancelled(PassthroughError):
    """A job stopped early because its caller no longer waits; so no caller sees this error."""


class JobThread:
    """A queue of jobs and the one thread that runs them in order; pdfium is not thread safe."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._closing = threading.Event()

    async def run(self, job: Callable[[IsCancelled], T]) -> T:
        """Return what `job` returns, or raise what it raises.

        If the caller is cancelled while the job is queued, the job never runs. If it is running, its argument returns True from
        then on, and the job ends by itself.
        """
        left = threading.Event()
        is_cancelled: IsCancelled = lambda: left.is_set() or self._closing.is_set()  # noqa: E731 (one expression, named by its type)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job, is_cancelled)
        finally:
            left.set()

    def submit(self, job: Callable[[], object]) -> None:
        """Queue `job` behind the jobs that are queued already; do not wait for it."""
        self._pool.submit(job)

    async def close(self) -> None:
        """Tell the running job and the queued ones to end, and wait for the thread. Idempotent."""
        self._closing.set()
        await asyncio.to_thread(self._pool.shutdown)
