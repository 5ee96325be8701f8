"""Keeps a request's body while it may have to be sent again: in memory up to a bound, then in a file if the route allows one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

_PIECE_BYTES: Final = 256 * 1024


class ReplayBuffer:
    """The bytes of one body. `whole`: all that came so far is here."""

    __slots__ = ("_bytes", "_file", "_max_bytes", "_pieces", "_spools", "whole")

    def __init__(self, bound_bytes: int, *, spools: bool) -> None:
        self._max_bytes = bound_bytes
        self._spools = spools
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self.whole = True

    async def keep(self, piece: bytes) -> None:
        """Keep one more piece; beyond the bound everything goes to a file without a name, or is dropped."""
        if not self.whole:
            return
        self._bytes += len(piece)
        self._pieces.append(piece)
        if self._bytes <= self._max_bytes:
            return
        if not self._spools:
            self.whole = False
            self._pieces.clear()
            return
        pieces, self._pieces = self._pieces, []
        try:
            await asyncio.to_thread(self._write, pieces)
        except OSError:  # A full disk costs the retry, not the first attempt.
            self.whole = False

    def _write(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._file.writelines(pieces)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces from the first on, as often as asked."""
        if self._file is None:
            for piece in self._pieces:
                yield piece
            return
        file = self._file
        await asyncio.to_thread(file.seek, 0)
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece

    def close(self) -> None:
        """Drop everything. The file has no name and is gone when its last reader has closed it."""
        self.whole = False
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
