"""The files of a job's requests: a line of JSON for each part, written while its document is read."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from ..errors import DocumentError
from .folder import LINES

MAX_BYTES: Final = 400_000_000
"""Of one file: Mistral takes 512 MB."""
_BLOCK: Final = 3 << 18  # bytes; base64 of a multiple of three has no padding


@dataclass(frozen=True, slots=True)
class LineDocument:
    """The document of a line: its bytes (`path`, with the `size_bytes` that it was planned with), an upload, or a URL."""

    is_image: bool
    path: Path | None = None
    size_bytes: int = 0
    mime: str = ""
    stored: str | None = None
    url: str | None = None


class LineFiles:
    """Writes `lines-0.jsonl`, `lines-1.jsonl` … into a folder, none of them above `max_bytes` where its lines are not. Blocks."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.paths: list[Path] = []
        self._folder, self._max_bytes = folder, max_bytes
        self._open = ExitStack()
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._open.close()

    def write(self, custom_id: str, fields: Mapping[str, Any], document: LineDocument) -> None:
        """Write a line. Raises DocumentError, and leaves none, where the document cannot be read as it was planned; OSError."""
        head, tail = _around(custom_id, fields, document)
        file = self._room_for(len(head) + len(tail) + 4 * (-(-document.size_bytes // 3)))
        begin = file.tell()
        file.write(head)
        if document.path is not None:
            try:
                self._encode(document.path, document.size_bytes, file)
            except DocumentError:
                file.seek(begin)
                file.truncate()
                raise
        file.write(tail)

    def _room_for(self, size_bytes: int) -> BinaryIO:
        if self._file is None or (self._file.tell() and self._file.tell() + size_bytes > self._max_bytes):
            self._open.close()
            self.paths.append(self._folder / LINES.format(len(self.paths)))
            self._file = self._open.enter_context(self.paths[-1].open("wb"))
        return self._file

    @staticmethod
    def _encode(path: Path, size_bytes: int, file: BinaryIO) -> None:
        size = 0
        try:
            source = path.open("rb")
        except OSError as error:
            raise DocumentError(f"It cannot be read: {error.strerror or error}.", "Check its name and permissions.") from None
        with source:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > size_bytes:
                    break
                file.write(base64.b64encode(block))
        if size != size_bytes:
            raise DocumentError("It changed while it was read.", "Run again when it is complete.")


def _around(custom_id: str, fields: Mapping[str, Any], document: LineDocument) -> tuple[bytes, bytes]:
    """Return a line's bytes before and after the base64 of its document, which is all in one where there is none."""
    kind = "image_url" if document.is_image else "document_url"
    if document.stored is not None:
        value: dict[str, Any] = {"type": "file", "file_id": document.stored}
    elif document.path is None:
        value = {"type": kind, kind: document.url}
    else:
        value = {"type": kind, kind: f"data:{document.mime};base64,"}
    line = json.dumps({"custom_id": custom_id, "body": {**fields, "document": value}}).encode() + b"\n"
    end = len(b'"}}}\n') if document.path is not None and document.stored is None else 0
    return line[: len(line) - end], line[len(line) - end :]
