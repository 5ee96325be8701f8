"""Lists the streams of an OLE file, the container of Office 97 to 2003 ([MS-CFB])."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

OLE_MARK: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENTRY_BYTES: Final = 128
_MAX_SECTORS: Final = 64  # of the directory that are looked through; the streams that tell a type stand in its first ones
_LAST_SECTOR: Final = 0xFFFFFFFA  # larger numbers end a chain ([MS-CFB] §2.1)
_TABLES_IN_HEADER: Final = 109


def ole_streams(path: Path) -> list[str]:
    """Return the names of the storages and streams of an OLE file; of a damaged one those that are found, of another none.

    Raises OSError.
    """
    with path.open("rb") as file:
        header = file.read(512)
        shift = int.from_bytes(header[30:32], "little")
        if not header.startswith(OLE_MARK) or shift not in {9, 12}:
            return []
        return [name for sector in _directory(file, header, 1 << shift) for name in _names(sector)]


def _directory(file: BinaryIO, header: bytes, size: int) -> Iterator[bytes]:
    """Yield the directory's sectors of `size` bytes, along their chain."""
    sector = int.from_bytes(header[48:52], "little")
    for _ in range(_MAX_SECTORS):
        if sector > _LAST_SECTOR:
            return
        yield _read(file, (sector + 1) * size, size)
        sector = _next(file, header, size, sector)


def _next(file: BinaryIO, header: bytes, size: int, sector: int) -> int:
    """Return the sector that follows one, by the allocation tables that the header lists; the last number: none."""
    table, row = divmod(sector, size // 4)
    if table >= _TABLES_IN_HEADER:
        return 0xFFFFFFFF
    at = int.from_bytes(header[76 + 4 * table : 80 + 4 * table], "little")
    found = _read(file, (at + 1) * size + 4 * row, 4)
    return int.from_bytes(found, "little") if len(found) == 4 else 0xFFFFFFFF


def _names(sector: bytes) -> Iterator[str]:
    for at in range(0, len(sector) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        length = int.from_bytes(sector[at + 64 : at + 66], "little")
        if 2 < length <= 64:
            yield sector[at : at + length - 2].decode("utf-16-le", "replace")


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
