"""Entries as they were before they became text in the journal, while they wait there for a short time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from .entry import Entry
from .segment import Portion, Segment

KEPT_BYTES: Final = 1024 * 1024
"""How many bytes of lines have their entries kept: what waits beyond that is read from its file."""


class Recent:
    """Spares the ledger's thread the reading of what this process has just written. Bounded, and never the truth.

    One thread keeps, another takes. What is taken stands in its segment at that place, just so; where an entry is not kept (there
    were too many, or it is not yet), the segment is read.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: deque[tuple[Segment, int, int, Entry]] = deque()  # with where its line begins, and where it ends
        self._kept_bytes = 0  # each is written by one side only, so that neither needs a lock
        self._left_bytes = 0
        self._taken: deque[tuple[Segment, int, int, Entry]] = deque()  # the taking side's: not fed yet

    def keep(self, segment: Segment, begin: int, lines: Sequence[bytes], entries: Sequence[Entry]) -> None:
        """Keep entries whose lines were appended to a segment from an offset on, as far as there is room."""
        for line, entry in zip(lines, entries, strict=True):
            end = begin + len(line)
            if self._kept_bytes - self._left_bytes + len(line) > self._most_bytes:
                return
            self._kept_bytes += len(line)
            self._kept.append((segment, begin, end, entry))
            begin = end

    def portion(self, segment: Segment, most: int) -> Portion | None:
        """Return the segment's next entries, about `most` charges in all; None where it must be read. See Segment.portion."""
        while (first := self._at(0)) is not None and (first[0].left <= 0 if first[0] is not segment else first[1] < segment.fed):
            self._left_bytes += first[2] - first[1]
            self._taken.popleft()
        entries: list[Entry] = []
        at, size = segment.fed, segment.size
        while most > 0 and (found := self._at(len(entries))) is not None:
            of, begin, end, entry = found
            if of is not segment or begin != at or end > size:
                break
            entries.append(entry)
            most -= len(entry.charges) or 1
            at = end
        return Portion(segment, tuple(entries), at, 0) if entries else None

    def _at(self, place: int) -> tuple[Segment, int, int, Entry] | None:
        """Return what is in the place, counted from the oldest that was not fed; None where there is nothing."""
        while len(self._taken) <= place:
            if not self._kept:
                return None
            self._taken.append(self._kept.popleft())
        return self._taken[place]
