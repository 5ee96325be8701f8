"""Merges refused requests before they go into the ledger: one entry a minute for each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ..exchange import Outcome
from .entry import Entry

_MINUTE_S: Final = 60.0
_BEHIND_S: Final = 0.05  # after the minute's end, for a request that began within it and is refused a moment later
_REFUSED: Final = str(Outcome.REFUSED)
_MAX_KINDS: Final = 10_000

_Kind = tuple[int, str | None, str | None, str | None, str | None, bool]


@dataclass(slots=True)
class _Refused:
    """The entry of the first of some refused requests, and how many they are."""

    first: Entry
    count: int = 1


class Refusals:
    """Gathers refused requests in memory, on the event loop's thread, until their minute (UTC) is over.

    A refused client may repeat its request thousands of times a second: a row for each would fill the disk. The requests of
    one minute belong to the same day and to the same budgets' periods. A kill loses the minute's count; the log has each request.
    """

    def __init__(self, write: Callable[[Entry], None]) -> None:
        """`write` takes the merged entry: the first request's, without its labels, for the others may have had others."""
        self._write = write
        self._kinds: dict[_Kind, _Refused] = {}
        self._timer: asyncio.TimerHandle | None = None

    def take(self, entry: Entry) -> bool:
        """Take the entry of a request that was refused before anything of it went to a target; False for any other entry."""
        if entry.outcome != _REFUSED or entry.attempts:
            return False
        kind = (int(entry.began_utc // _MINUTE_S), entry.client, entry.route, entry.model_group, entry.error, entry.sandbox)
        found = self._kinds.get(kind)
        if found is not None:
            found.count += 1
            return True
        if len(self._kinds) >= _MAX_KINDS:  # rare: clients and routes are named in the configuration
            self.flush()
        self._kinds[kind] = _Refused(entry)
        if self._timer is None:
            left_s = _MINUTE_S - entry.began_utc % _MINUTE_S
            self._timer = asyncio.get_running_loop().call_later(left_s + _BEHIND_S, self.flush)
        return True

    def flush(self) -> None:
        """Write the merged entries now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kinds, self._kinds = self._kinds, {}
        for refused in kinds.values():
            self._write(replace(refused.first, label=None, labels=None, requests=refused.count))
