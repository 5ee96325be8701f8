"""A pool of two threads for reads of the ledger, each with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ..errors import LedgerError

MAX_CONCURRENT: Final = 2
"""More would take the database, and the interpreter, from the traffic."""

READ_S: Final = 20.0
"""How long a read may take, its wait for a thread included."""

Found = TypeVar("Found")


class LedgerReads:
    """Two threads that read the ledger; further reads wait for one of them."""

    def __init__(self, timeout_s: float = READ_S) -> None:
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT, "ledger-read")

    async def run(self, read: Callable[[], Found]) -> Found:
        """Return what `read` returns. Raises LedgerError, also where it takes too long; its thread then goes on to its end."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, read), self._timeout_s)
        except TimeoutError:
            why = f"The ledger was not read within {self._timeout_s:g} s."
            hint = "Ask for a shorter period, or look at what its database is doing."
            raise LedgerError(f"{why}\n{hint}") from None

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
