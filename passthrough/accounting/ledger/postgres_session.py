"""A psycopg connection on which each call has a time limit, also where the server stops responding."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from typing import Any, Final

import psycopg

HUNG: Final = "the server did not answer within"
"""The beginning of the message of a call that exceeds its limit."""


def parameter_names() -> Collection[str]:
    """Return the names of libpq's connection parameters."""
    return {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}


class CallLimit:
    """How many seconds a call may take. Any thread may change it at any time: that applies to calls under way too."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Session(psycopg.Connection[Any]):
    """A connection whose every call ends in time.

    A stopped server, or a machine that swaps, acknowledges packets and sends no response: neither the server's time-out
    (statement_timeout) nor the network's (tcp_user_timeout) ends such a call.
    """

    limit: CallLimit | None = None

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **more: Any) -> Any:
        """Wait for a call's end (a hook of psycopg); it wakes every tenth of a second, whether anything came or not.

        psycopg 3.2.2 does not wake there: with its C extension it waits without end.
        """
        return super().wait(gen if self.limit is None else self._in_time(gen, self.limit), *args, **more)

    def _in_time(self, call: Generator[Any, Any, Any], limit: CallLimit) -> Generator[Any, Any, Any]:
        begun = time.monotonic()
        try:
            wanted = next(call)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() - begun > limit.seconds:
                    self.pgconn.finish()  # a late response would pass for that to another call
                    raise psycopg.OperationalError(f"{HUNG} {limit.seconds:g} s")
                wanted = call.send(ready)
        except StopIteration as ended:
            return ended.value
