"""Says what the meter has found in each exchange, by its id, where the program logs at the level `debug`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .entry import Entry
from .text_log import found_by_meter


class MeterSteps:
    """An observer of the entries: see bookkeeper.Observer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` takes the messages; it never blocks."""
        self._say = say

    def ended(self, entry: Entry) -> None:
        """Say what was counted, and what it costs; and the provider's own error code, where there is one."""
        code = f"; upstream code {entry.upstream_code}" if entry.upstream_code else ""
        self._say(f"{entry.id} {found_by_meter(entry)}{code}")

    def booked(self, entries: Sequence[Entry]) -> None:
        """Say nothing: the ledger's part comes later, and for many at once."""
