"""OLE files for tests, as far as a reader of their directory looks: a header, an allocation table, and the directory."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_END, _FREE, _TABLE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def ole(names: Sequence[str], sector: int = 512, chain: Sequence[int] | None = None) -> bytes:
    """Return an OLE file with streams of these names, in sectors of 512 or 4096 bytes.

    `chain` replaces the numbers of the directory's sectors, each of which is followed by the next: sector 0 is the table's.
    """
    entries = b"".join(_entry(name, kind) for name, kind in [("Root Entry", 5), *((name, 2) for name in names)])
    pieces = [entries[at : at + sector].ljust(sector, b"\0") for at in range(0, len(entries), sector)]
    used = list(range(1, len(pieces) + 1)) if chain is None else list(chain)
    table = [_TABLE, *[_FREE] * (sector // 4 - 1)]
    for here, following in zip(used, [*used[1:], _END], strict=True):
        table[here] = following
    header = bytearray(sector)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    struct.pack_into("<HHHH", header, 24, 0x3E, 3 if sector == 512 else 4, 0xFFFE, sector.bit_length() - 1)
    struct.pack_into("<II", header, 44, 1, used[0])
    struct.pack_into("<109I", header, 76, 0, *[_FREE] * 108)
    body = [b"\0" * sector] * max(*used, len(pieces))
    for number, piece in zip(used, pieces, strict=False):
        body[number - 1] = piece
    return bytes(header) + struct.pack(f"<{sector // 4}I", *table) + b"".join(body)


def _entry(name: str, kind: int) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    return struct.pack("<64sHB", text, len(text), kind).ljust(128, b"\0")
