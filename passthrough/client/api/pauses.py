"""The pauses that an API asks for, which all workers keep together, and the waits before a call is sent again."""

from __future__ import annotations

import asyncio
import random
import re
import time
from calendar import timegm
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_tz
from math import inf
from typing import Final

OnWait = Callable[[float, str], None]
"""Hears that a call waits for so many seconds, and why."""

MAX_DELAY_S: Final = 60.0
_SPREAD_S: Final = 1.0
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")


@dataclass(frozen=True, slots=True)
class Timing:
    """The clocks, and the limits of time.

    `connect_s` is for a connection with its TLS, `silence_s` for the time in which no byte crosses. `chance` returns a number
    from 0 to 1.
    """

    steady_s: Callable[[], float] = time.monotonic
    utc_s: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random
    connect_s: float = 10.0
    silence_s: float = 600.0


SYSTEM: Final = Timing()


class Pauses:
    """One gate for all workers: it is closed while the API asks to wait. `successes` counts the calls that it answered well."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._ends_s = -inf
        self.successes = 0

    def extend(self, seconds: float) -> bool:
        """Keep the gate closed for so long from now; tell whether it is closed for longer than before."""
        ends_s = self._timing.steady_s() + seconds
        is_longer = ends_s > self._ends_s
        self._ends_s = max(self._ends_s, ends_s)
        return is_longer

    async def passed(self) -> None:
        """Return once the gate is open; those that waited are spread, so that they do not all call in one moment."""
        while (left_s := self._ends_s - self._timing.steady_s()) > 0:
            await self._timing.sleep(left_s + self._timing.chance() * _SPREAD_S)


def doubled_delay_s(tries: int, chance: float) -> float:
    """Return the wait after a try, the first is 1: it doubles from 1 s to 60 s, less up to a quarter by `chance`."""
    return min(2.0 ** (tries - 1), MAX_DELAY_S) * (1 - chance / 4)


def retry_after_s(values: Iterable[str], now_utc: float) -> float:
    """Return the seconds that the fields Retry-After ask for: a number or a date (RFC 9110 §10.2.3), 0 where none can be read."""
    return max((_asked_s(value.strip(), now_utc) for value in values), default=0.0)


def _asked_s(value: str, now_utc: float) -> float:
    if _SECONDS.fullmatch(value):
        return float(value)
    parts = parsedate_tz(value)
    if parts is None:
        return 0.0
    try:
        return max(0.0, timegm(parts[:6]) - (parts[9] or 0) - now_utc)
    except (ValueError, OverflowError):
        return 0.0
