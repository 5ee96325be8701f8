"""One session with a PostgreSQL server, through psycopg: no call takes longer than it may, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from typing import Any, Final

import psycopg

HUNG: Final = "the server did not answer within"
"""How the message begins that an unanswered call ends with."""


def parameter_names() -> Collection[str]:
    """Return the names of libpq's connection parameters."""
    return {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}


class CallLimit:
    """How many seconds a call may take. Changed at any time, by any thread: calls under way go by it too."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Session(psycopg.Connection[Any]):
    """A connection whose every call ends in time.

    A server that is stopped, or a machine that swaps, acknowledges what it gets and answers nothing: no time-out of the server's
    (statement_timeout) and none of the network's (tcp_user_timeout) ends such a call.
    """

    limit: CallLimit | None = None

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **more: Any) -> Any:
        """Wait for a call's end (psycopg's own hook); it wakes every tenth of a second, whether something came or not.

        psycopg 3.2.2 does not wake there: with its C extension it waits for good.
        """
        return super().wait(gen if self.limit is None else self._in_time(gen, self.limit), *args, **more)

    def _in_time(self, call: Generator[Any, Any, Any], limit: CallLimit) -> Generator[Any, Any, Any]:
        begun = time.monotonic()
        try:
            wanted = next(call)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() - begun > limit.seconds:
                    self.pgconn.finish()  # what it said later would pass for the answer to something else
                    raise psycopg.OperationalError(f"{HUNG} {limit.seconds:g} s")
                wanted = call.send(ready)
        except StopIteration as ended:
            return ended.value
