"""Entries as they were before they became text in the journal, while they wait there for a short time."""

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
"""How many bytes of lines have their entries kept: what waits beyond that is read from its file."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Entries whose lines stand one after another: `places` are where each begins, and where the last one ends."""

    segment: Segment
    places: Sequence[int]
    entries: Sequence[Entry]


class EntryCache:
    """Spares the ledger's thread the reading of what this process has just written. Bounded, and never the truth.

    One thread keeps, another takes. What is taken stands in its segment at that place, just so; where an entry is not kept (there
    were too many, or it is not yet), the segment is read.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: deque[_Stretch] = deque()
        self._kept_bytes = 0  # each is written by one side only, so that neither needs a lock
        self._left_bytes = 0
        self._taken: deque[_Stretch] = deque()  # the taking side's: not fed yet, or not wholly

    def keep(self, segment: Segment, begin: int, lines: Sequence[bytes], entries: Sequence[Entry]) -> None:
        """Keep entries whose lines were appended to a segment from an offset on, as far as there is room."""
        places = list(accumulate(map(len, lines), initial=begin))
        free_bytes = self._max_bytes - (self._kept_bytes - self._left_bytes)
        many = bisect_right(places, begin + free_bytes) - 1
        if many > 0:
            self._kept_bytes += places[many] - begin
            self._kept.append(_Stretch(segment, places[: many + 1], entries[:many]))

    def next_batch(self, segment: Segment, max_charges: int) -> Batch | None:
        """Return the segment's next entries, about `most` charges in all; None where it must be read. See Segment.portion."""
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
        """Yield the entries that stand one after another from an offset on, each with where its line ends."""
        for stretch in self._taken:
            places = stretch.places
            first = bisect_left(places, at)
            if stretch.segment is not segment or places[first : first + 1] != [at]:
                return
            yield from zip(stretch.entries[first:], places[first + 1 :], strict=True)
            at = places[-1]


def _is_shipped(stretch: _Stretch, segment: Segment) -> bool:
    """Tell whether a stretch is wholly in the ledger, as far as that is known when a segment is being fed."""
    return stretch.segment.left <= 0 if stretch.segment is not segment else stretch.places[-1] <= segment.shipped
