"""Caches entries that were just written into the journal, so that the shipper need not parse them back."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from ..entry import Entry
from .segment import Batch, Segment

MAX_BYTES: Final = 1024 * 1024
"""The entries of this many bytes of lines are cached; further ones are read from their file."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Entries with consecutive lines in a segment: `places` are the offsets where each begins, and where the last one ends."""

    segment: Segment
    places: Sequence[int]
    entries: Sequence[Entry]


class EntryCache:
    """Spares the ledger's thread reading back what this process has just written. Bounded; the segment stays the truth.

    One thread puts entries in, another takes them out. An entry from the cache equals the line at its offset in the segment;
    where an entry is not cached (there were too many, or it is not in yet), the segment is read.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: deque[_Stretch] = deque()
        self._kept_bytes = 0  # each is written by one side only, so that neither needs a lock
        self._left_bytes = 0
        self._taken: deque[_Stretch] = deque()  # of the taking side: not wholly shipped yet

    def keep(self, segment: Segment, begin: int, lines: Sequence[bytes], entries: Sequence[Entry]) -> None:
        """Cache entries whose lines were appended to a segment from an offset on, as far as there is space."""
        places = list(accumulate(map(len, lines), initial=begin))
        free_bytes = self._max_bytes - (self._kept_bytes - self._left_bytes)
        many = bisect_right(places, begin + free_bytes) - 1
        if many > 0:
            self._kept_bytes += places[many] - begin
            self._kept.append(_Stretch(segment, places[: many + 1], entries[:many]))

    def next_batch(self, segment: Segment, max_charges: int) -> Batch | None:
        """Return the segment's next entries, about `max_charges` in all; None where it must be read. See Segment.next_batch."""
        while self._kept:
            self._taken.append(self._kept.popleft())
        while self._taken and _is_shipped(self._taken[0], segment):
            places = self._taken.popleft().places
            self._left_bytes += places[-1] - places[0]
        entries: list[Entry] = []
        at, size = segment.shipped, segment.size
        for entry, end in self._following(segment, at):
            if max_charges <= 0 or end > size:
                break
            entries.append(entry)
            max_charges -= len(entry.charges) or 1
            at = end
        return Batch(segment, tuple(entries), at, 0) if entries else None

    def _following(self, segment: Segment, at: int) -> Iterator[tuple[Entry, int]]:
        """Yield consecutive entries from an offset on, each with the offset where its line ends."""
        for stretch in self._taken:
            places = stretch.places
            first = bisect_left(places, at)
            if stretch.segment is not segment or places[first : first + 1] != [at]:
                return
            yield from zip(stretch.entries[first:], places[first + 1 :], strict=True)
            at = places[-1]


def _is_shipped(stretch: _Stretch, segment: Segment) -> bool:
    """Tell whether a stretch is wholly in the ledger, as far as that is known while a segment is being shipped."""
    return stretch.segment.left <= 0 if stretch.segment is not segment else stretch.places[-1] <= segment.shipped
