"""Pages that a user chooses: `0,2-4`, counted from 0, both ends included."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_PART: Final = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class PageRanges:
    """Ranges of pages, in order and apart: (first, last), both included."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> PageRanges:
        """Return the ranges of a text. Raises ValueError, whose message says what is wrong."""
        found = []
        for part in text.split(","):
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(f"'{part.strip()}' is no page and no range: write 0,2-4, counted from 0.")
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise ValueError(f"'{part.strip()}' ends before it begins.")
            found.append((first, last))
        return cls(_merged(sorted(found)))

    def of(self, total: int) -> list[int]:
        """Return the chosen ones of a document's pages, in order; those beyond its end are left out."""
        return [page for first, last in self.ranges for page in range(first, min(last + 1, total))]

    def __str__(self) -> str:
        return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in self.ranges)


def ranges_of(pages: Iterable[int]) -> PageRanges:
    """Return the ranges of page numbers."""
    return PageRanges(_merged([(page, page) for page in sorted(set(pages))]))


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)
