"""Writes a multipart upload to disk, piece by piece."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from .batch.lines import read_requests
from .errors import MISSING, detail, error, flaw, too_large, unprocessable
from .file_store import FileStore, StoredFile
from .job_thread import IsCancelled, JobThread

_PIECE: Final = 1 << 20
_MAX_FIELD: Final = 8192


@dataclass(slots=True)
class _Writing:
    """A file that is being written; only the disk thread uses anything but `file_id` and `path`."""

    file_id: str
    path: Path
    size_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    opened: IO[bytes] | None = None

    def write(self, piece: bytes) -> None:
        if self.opened is None:
            self.opened = self.path.open("xb", buffering=0)
        rest = memoryview(piece)
        while rest:  # an unbuffered write may write only a part of it
            rest = rest[self.opened.write(rest) :]
        self.digest.update(piece)
        self.size_bytes += len(piece)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


async def receive(request: web.Request, files: FileStore, disk: JobThread, max_bytes: int) -> StoredFile:
    """Add the part `file` of a multipart request to the store, and return it.

    `disk` writes all files in order, so a broken upload is closed and removed after its last write. Raises Rejection: 400 for a
    broken multipart body, 413 beyond `max_bytes`, 422 without a file and for a batch's file that holds no requests, 507 for a
    full disk.
    """
    if request.content_type != "multipart/form-data":
        raise unprocessable([flaw(("body", "file"), MISSING, None)])
    file_id = str(uuid.uuid4())
    writing = _Writing(file_id, files.directory / file_id)
    try:
        filename, purpose = await _parts(request, writing, disk, max_bytes)
    except BaseException as wrong:
        disk.submit(writing.discard)
        if isinstance(wrong, (ValueError, AssertionError, HttpProcessingError)):
            raise detail(400, "There was an error parsing the body") from None
        if isinstance(wrong, OSError) and not isinstance(wrong, ConnectionError):
            raise error(507, "storage", f"The sandbox cannot store the file: {wrong.strerror}.") from None
        raise
    digest = writing.digest.hexdigest()
    kind, lines = "ocr_input", 0
    if purpose == "batch":
        kind, lines = "batch_request", await _lines(writing, disk)
    stored = StoredFile(file_id, writing.path, writing.size_bytes, int(files.clock()), filename, purpose, digest, kind, lines)
    files.put(stored)
    return stored


async def _lines(writing: _Writing, disk: JobThread) -> int:
    """Return the number of a batch's requests; a file that holds anything else is removed, and refused with 422."""

    def counted(_: IsCancelled) -> int:
        with writing.path.open("rb") as opened:
            return sum(1 for _ in read_requests(opened))

    try:
        return await disk.run(counted)
    except BaseException:
        disk.submit(writing.discard)
        raise


async def _parts(request: web.Request, writing: _Writing, disk: JobThread, max_bytes: int) -> tuple[str, str]:
    """Read every part, and write the file's bytes to disk; return the file's name and the purpose."""
    filename: str | None = None
    fields: dict[str, str] = {}
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise ValueError("A multipart within a multipart")
        if part.name == "file" and filename is None:
            filename = part.filename or "file"
            await _to_disk(part, writing, disk, max_bytes)
        else:
            piece = await part.read_chunk(_MAX_FIELD)
            if not part.at_eof() and await part.read_chunk(_MAX_FIELD):
                raise ValueError("A field that is too long")
            fields[part.name or ""] = piece.decode("utf-8", "replace")
    if filename is None:
        raise unprocessable([flaw(("body", "file"), MISSING, None)])
    return filename, fields.get("purpose") or "ocr"


async def _to_disk(part: BodyPartReader, writing: _Writing, disk: JobThread, max_bytes: int) -> None:
    total, piece = 0, bytearray()
    while chunk := await part.read_chunk(_PIECE):
        total += len(chunk)
        if total > max_bytes:
            raise too_large(f"The file is larger than {max_bytes} bytes.")
        piece += chunk
        if len(piece) >= _PIECE:
            await _write(bytes(piece), writing, disk)
            piece.clear()
    await _write(bytes(piece), writing, disk)
    await disk.run(lambda _: writing.close())


async def _write(piece: bytes, writing: _Writing, disk: JobThread) -> None:
    await disk.run(lambda _: writing.write(piece))
