"""Reads the responses of clients that have left to their end, so that the ledger has what the provider bills.

A stream of events is given up instead: its provider stops generating then, and reading on would cost more.
"""

from __future__ import annotations

import asyncio

from ..errors import UpstreamFailure
from ..exchange import Done, Outcome
from ..meter.usage import Unmetered
from .call import Call
from .upstream.pool import ConnectionPool


class Settling:
    """The calls whose clients have left, each in a task of its own that owns its exchange until `done`.

    Each counts as a connection (see Listener), so that there are at most as many as connections are allowed: rather are new
    clients refused than calls dropped that the provider works on and bills.
    """

    def __init__(self, upstream: ConnectionPool, end: Done) -> None:
        """`end` takes each exchange when its call has settled, or was cut off."""
        self._upstream = upstream
        self._end_exchange = end
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, call: Call) -> bool:
        """Start to settle `call` if its route wants that; False: the caller keeps the call, and aborts it.

        Only a call whose request is complete is settled: the provider works on no other, and bills no other. Where the route says
        nothing, a call is settled whose count is expected, unless its response is a stream.
        """
        settles = call.route.settles
        wanted = (call.expects and not call.streams) if settles is None else settles
        if not (wanted and call.request_body.complete):
            return False
        task = asyncio.get_running_loop().create_task(self._settle(call))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._end(task, call))
        return True

    async def _settle(self, call: Call) -> None:
        try:
            await call.response_head()
            if call.route.settles is None and call.streams:  # Before its head that was not known.
                call.abort(Unmetered.CANCELLED)
                return
            while await call.piece():
                await call.meter_drained()
            self._upstream.release(call.target, call.connection)
        except UpstreamFailure as failure:
            call.exchange.error = failure.kind.code
            call.exchange.failed(str(failure.why or failure.kind.code))
            call.abort(Unmetered.BROKEN)

    def _end(self, task: asyncio.Task[None], call: Call) -> None:
        """End the exchange; not in the task itself: a task that is cancelled before its first step runs no `finally`."""
        self._tasks.discard(task)
        if task.cancelled():
            call.exchange.outcome = Outcome.CUT_OFF
            call.abort(Unmetered.CANCELLED)
        self._end_exchange(call.exchange)

    def __len__(self) -> int:
        """How many calls are settling now."""
        return len(self._tasks)

    async def drained(self) -> None:
        """Wait until every call has settled."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def cut_off(self) -> None:
        """Cancel the calls that are still settling, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await self.drained()
