"""A response on its way into a file, which gets its name only when the response is whole and on the disk."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import ClientResponse

from ..errors import DocumentError
from ..threads import in_thread
from .faults import BILLED_HINT

_BLOCK: Final = 1 << 18
_BEFORE_JSON: Final = b" \t\r\n\xef\xbb\xbf"  # a byte order mark, too
_SPACE: Final = "Make space, or check the folder's permissions."


class IncomingFile:
    """A response on its way to disk. `is_billed`: it is an OCR response, one JSON object, and costs money."""

    def __init__(self, file: BinaryIO, part: Path, into: Path, *, is_billed: bool) -> None:
        self._file, self._part, self._into, self._is_billed = file, part, into, is_billed
        self._start = self._end = b""
        self._is_page = False

    @classmethod
    @asynccontextmanager
    async def created(cls, into: Path, *, is_billed: bool) -> AsyncIterator[IncomingFile]:
        """Yield one, whose file is made before the call leaves: a response that cannot be stored is not paid for.

        What `finish` has not renamed is removed. Raises DocumentError.
        """
        part = into.with_name(f"{into.name}.part")
        opened: list[BinaryIO] = []
        try:
            try:
                await in_thread(partial(_open, part, opened))
            except OSError as error:
                raise DocumentError(f"{part} cannot be written: {error.strerror or error}.", _SPACE) from None
            yield cls(opened[0], part, into, is_billed=is_billed)
        finally:
            await in_thread(partial(_discard, opened, part))

    async def receive(self, response: ClientResponse) -> None:
        """Write a response's body, from its beginning. Raises DocumentError, and the network's errors."""
        await self._do(partial(_restart, self._file))
        waiting = bytearray()
        self._start = self._end = b""
        self._is_page = response.content_type == "text/html"
        async for piece in response.content.iter_chunked(_BLOCK):
            waiting += piece
            self._start = self._start or piece.lstrip(_BEFORE_JSON)[:1]
            self._end = piece.rstrip()[-1:] or self._end
            if len(waiting) >= _BLOCK:
                await self._do(partial(self._file.write, bytes(waiting)))
                waiting.clear()
        await self._do(partial(self._file.write, bytes(waiting)))

    async def finish(self) -> None:
        """Give the file its name, once its bytes are on the disk. Raises DocumentError."""
        if self._is_billed and self._start != b"{":
            why = "The API responded with something else than an OCR result; it may have been billed."
            raise DocumentError(why, "Check --base-url or PASSTHROUGH_BASE_URL.", ends_run=self._is_page)
        if self._is_billed and self._end != b"}":
            # A response that ends with its connection, and compressed bytes, may be cut without a sign.
            raise DocumentError("The response is not whole; it may have been billed.", BILLED_HINT)
        await self._do(partial(_name, self._file, self._part, self._into))

    async def _do(self, work: Callable[[], object]) -> None:
        try:
            await in_thread(work)
        except OSError as error:
            said = f"The response cannot be written: {error.strerror or error}"
            # The next response would be paid for and lost alike.
            raise DocumentError(f"{said}{'; it was billed' * self._is_billed}.", _SPACE, ends_run=self._is_billed) from None


def _open(part: Path, opened: list[BinaryIO]) -> None:
    opened.append(part.open("wb"))  # it is closed even where its caller was cancelled meanwhile


def _restart(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _name(file: BinaryIO, part: Path, into: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    part.replace(into)


def _discard(opened: list[BinaryIO], part: Path) -> None:
    for file in opened:
        with suppress(OSError):  # closing writes what it holds: the disk may be full
            file.close()
    with suppress(OSError):
        part.unlink(missing_ok=True)
