"""Counts the pages of a TIFF: its image file directories, each of which names the next (TIFF 6.0 §2, BigTIFF)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final, Literal

_MAX_PAGES: Final = 100_000


def count_tiff_pages(path: Path) -> int:
    """Return how many pages a TIFF has, at least 1; a damaged or endless chain counts as far as it goes. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(4)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        is_big = int.from_bytes(head[2:], order) == 43
        file.seek(8 if is_big else 4)
        return max(1, _chain(file, order, is_big))


def _chain(file: BinaryIO, order: Literal["little", "big"], is_big: bool) -> int:
    """Return how many directories follow, the file standing at the offset of the first."""
    offset_bytes, count_bytes, entry_bytes = (8, 8, 20) if is_big else (4, 2, 12)
    size = os.fstat(file.fileno()).st_size
    seen: set[int] = set()
    while len(seen) < _MAX_PAGES:
        offset = int.from_bytes(file.read(offset_bytes), order)
        if offset == 0 or offset in seen or offset >= size:  # beyond what a system takes as an offset, too
            break
        file.seek(offset)
        entries = file.read(count_bytes)
        if len(entries) < count_bytes:
            break
        seen.add(offset)
        file.seek(min(offset + count_bytes + entry_bytes * int.from_bytes(entries, order), size))
    return len(seen)
