"""Request bodies that are made while they are sent: a file between two pieces of text, as it is or in base64."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from json import dumps
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from ..errors import DocumentError
from ..threads import in_thread

_BLOCK: Final = 3 << 16
"""Bytes that are read at once: a multiple of three, so that the base64 of the blocks is the base64 of the file."""

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file as the middle of a body; `size_bytes` and `changed_ns` are those that it must still have when it was sent."""

    path: Path
    size_bytes: int
    changed_ns: int
    as_base64: bool

    @classmethod
    def of(cls, path: Path, *, as_base64: bool) -> FileContent:
        """Return a file as it is now. Blocks. Raises DocumentError."""
        try:
            found = path.stat()
        except OSError as error:
            raise _unreadable(error) from None
        return cls(path, found.st_size, found.st_mtime_ns, as_base64)

    @property
    def sent_bytes(self) -> int:
        """How many bytes of the body it makes."""
        return (self.size_bytes + 2) // 3 * 4 if self.as_base64 else self.size_bytes

    def open(self, files: ExitStack) -> BinaryIO:
        """Open it until the stack is left, even where a cancelled caller does not get it. Blocks. Raises DocumentError."""
        try:
            return files.enter_context(self.path.open("rb"))
        except OSError as error:
            raise _unreadable(error) from None

    def block(self, file: BinaryIO) -> bytes:
        """Return the next piece of the body, none at the end. Blocks. Raises DocumentError."""
        try:
            read = file.read(_BLOCK)
        except OSError as error:
            raise _unreadable(error) from None
        return b64encode(read) if self.as_base64 else read

    def check(self, file: BinaryIO, sent: int) -> None:
        """Raise DocumentError where the file is not the one whose length was announced."""
        now = os.fstat(file.fileno())
        if (sent, now.st_size, now.st_mtime_ns) != (self.sent_bytes, self.size_bytes, self.changed_ns):
            raise DocumentError("The file changed while it was sent, so it was not sent to its end.", "Run it again.")


class RequestBody(Payload):
    """A body whose length is known before: `before`, a file where there is one, `after`.

    `is_whole` turns True just before the last piece leaves, and `on_whole` is called: as long as it is False, the API cannot have
    the request. `failure` is what was wrong with the file.
    """

    def __init__(
        self,
        before: bytes,
        content: FileContent | None,
        after: bytes,
        *,
        media_type: str = JSON,
        silence_s: float,
        on_whole: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(None, content_type=media_type)
        self._before, self._content, self._after = before, content, after
        self._silence_s = silence_s
        self._length = len(before) + (content.sent_bytes if content is not None else 0) + len(after)
        self.is_whole = False
        self.failure: DocumentError | None = None
        self._on_whole = on_whole
        self._transport: asyncio.WriteTransport | None = None

    @property
    def size(self) -> int:
        """The length of the body, for Content-Length."""
        return self._length

    def abort(self) -> None:
        """Break the connection that it is sent on; aiohttp's own close waits until the API has taken what is on the way."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body. What is wrong with the file is kept in `failure`, and breaks the connection."""
        self._transport = getattr(writer, "transport", None)
        try:
            if self._content is not None:
                await self._write(writer, self._before)
                await self._write_file(writer, self._content)
        except DocumentError as error:
            self.failure = error
            raise
        self.is_whole = True
        self._on_whole()
        await self._write(writer, self._after if self._content is not None else self._before + self._after)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: aiohttp asks for it only to show a body, or to sign one."""
        raise TypeError("a request body is not decoded")

    async def _write_file(self, writer: AbstractStreamWriter, content: FileContent) -> None:
        with ExitStack() as files:
            file, sent = await in_thread(partial(content.open, files)), 0
            while piece := await in_thread(partial(content.block, file)):
                sent += len(piece)
                if sent > content.sent_bytes:
                    break
                await self._write(writer, piece)
            await in_thread(partial(content.check, file, sent))

    async def _write(self, writer: AbstractStreamWriter, piece: bytes) -> None:
        async with asyncio.timeout(self._silence_s):
            await writer.write(piece)


def json_body(value: Mapping[str, object], silence_s: float) -> RequestBody:
    """Return a JSON object as a body."""
    return RequestBody(dumps(value).encode(), None, b"", silence_s=silence_s)


def inline_document_body(
    fields: Mapping[str, object], kind: str, mime: str, content: FileContent, silence_s: float
) -> RequestBody:
    """Return the JSON object of an OCR call whose document is a file's data URI; `kind` is `document_url` or `image_url`."""
    before, after = inline_document_frame(fields, kind, mime)
    return RequestBody(before, content, after, silence_s=silence_s)


def inline_document_frame(fields: Mapping[str, object], kind: str, mime: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind the base64 of a document in the JSON object of its OCR call, which is one line."""
    uri = f"data:{mime or 'application/octet-stream'};base64,"
    whole = dumps({**fields, "document": {"type": kind, kind: uri}}).encode()
    return whole[: -len(b'"}}')], b'"}}'


def _unreadable(error: OSError) -> DocumentError:
    return DocumentError(f"The file cannot be read: {error.strerror or error}.", "Check its name and permissions.")
