"""Tracks when waiting entries arrived, in constant memory: so the age of the oldest one is known."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Final

from ..entry import Entry

_EVERY_S: Final = 0.25
_MAX_MARKS: Final = 512


@dataclass(frozen=True, slots=True)
class Arrival:
    """The arrival of an entry: how many came before it, when its exchange ended (UTC seconds), and when it came (monotonic)."""

    number: int
    ended_utc: float
    came: float


class Arrivals:
    """Samples of arrivals, four a second at most; where very many entries wait, every other sample is dropped.

    The event loop notes arrivals, any thread may read. An age is too great by the distance of two samples at most, a hundredth of
    it.
    """

    def __init__(self) -> None:
        self._marks: list[Arrival] = []
        self._every_s = _EVERY_S
        self._last = float("-inf")
        self._lock = Lock()

    def note(self, number: int, entry: Entry, came: float) -> None:
        """Note the arrival of the newest entry, before which `number` came."""
        if came - self._last < self._every_s:
            return
        self._last = came
        with self._lock:
            self._marks.append(Arrival(number, entry.began_utc + entry.total_s, came))
            if len(self._marks) > _MAX_MARKS:
                del self._marks[1::2]
                self._every_s *= 2

    def oldest(self, done: int) -> Arrival | None:
        """Return about the oldest arrival beyond the first `done` entries; None where none came."""
        with self._lock:
            passed = 0
            while passed + 1 < len(self._marks) and self._marks[passed + 1].number <= done:
                passed += 1
            del self._marks[:passed]
            if len(self._marks) < _MAX_MARKS // 4:
                self._every_s = _EVERY_S
            return self._marks[0] if self._marks else None
