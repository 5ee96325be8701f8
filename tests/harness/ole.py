"""OLE files for tests, as far as a reader of their directory looks: a header, allocation tables, and the directory."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_END, _FREE, _TABLE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def ole(names: Sequence[str], sector: int = 512, chain: Sequence[int] | None = None) -> bytes:
    """Return an OLE file with streams of these names, in sectors of 512 or 4096 bytes.

    `chain` are the numbers of the directory's sectors, each of which is followed by the next, where they are not 1, 2, 3 …:
    sector 0 is the first table's, and further tables stand behind the largest of the directory's.
    """
    entries = b"".join(_entry(name, kind) for name, kind in [("Root Entry", 5), *((name, 2) for name in names)])
    pieces = [entries[at : at + sector].ljust(sector, b"\0") for at in range(0, len(entries), sector)]
    used = list(range(1, len(pieces) + 1)) if chain is None else list(chain)
    in_table, last = sector // 4, max(*used, len(pieces))
    places = [0, *range(last + 1, last + 1 + last // in_table)]
    follows = [_TABLE, *[_FREE] * (in_table * len(places) - 1)]
    for here, following in zip(used, [*used[1:], _END], strict=True):
        follows[here] = following
    sectors = dict(zip(used, pieces, strict=False))
    for number, place in enumerate(places):
        sectors[place] = struct.pack(f"<{in_table}I", *follows[number * in_table : (number + 1) * in_table])
    return _header(sector, used[0], places) + b"".join(sectors.get(number, bytes(sector)) for number in range(last + len(places)))


def _header(sector: int, first: int, places: Sequence[int]) -> bytes:
    header = bytearray(sector)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<HHHH", header, 24, 0x3E, 3 if sector == 512 else 4, 0xFFFE, sector.bit_length() - 1)
    struct.pack_into("<II", header, 44, len(places), first)
    struct.pack_into("<109I", header, 76, *places, *[_FREE] * (109 - len(places)))
    return bytes(header)


def _entry(name: str, kind: int) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    return struct.pack("<64sHB", text, len(text), kind).ljust(128, b"\0")
