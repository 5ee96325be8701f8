"""Writes the results of a batch job into two files: what succeeded, and what failed."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..file_store import FileStore, StoredFile
from .lines import BatchRequest, result_line


@dataclass(slots=True)
class _ResultFile:
    """A file that is being written; it is created with its first line."""

    path: Path
    opened: IO[bytes] | None = None
    lines: int = 0
    size_bytes: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def write(self, line: bytes) -> None:
        if self.opened is None:
            self.opened = self.path.open("xb")
        self.opened.write(line)
        self.digest.update(line)
        self.lines += 1
        self.size_bytes += len(line)


class BatchResults:
    """The results of one job. Only the reader's thread calls it."""

    def __init__(self, job_id: str, files: FileStore) -> None:
        self._job_id, self._files = job_id, files
        self._succeeded, self._failed = (_ResultFile(files.directory / str(uuid.uuid4())) for _ in range(2))

    def write(self, request: BatchRequest, status: int, body: dict[str, object]) -> None:
        """Write the result of a request. Raises OSError, for a disk that takes no more."""
        number = self._succeeded.lines + self._failed.lines + 1
        line_id = f"batch-{self._job_id[:8]}-{number}-{uuid.uuid4()}"
        (self._succeeded if status == 200 else self._failed).write(result_line(line_id, request, status, body))

    def close(self) -> None:
        """Close both files. Idempotent."""
        for each in (self._succeeded, self._failed):
            if each.opened is not None:
                each.opened.close()

    def stored(self) -> tuple[str | None, str | None]:
        """Add the files to the store; return their ids, None for one without lines. They are closed before."""
        return self._store(self._succeeded, "batch_result"), self._store(self._failed, "batch_error")

    def _store(self, written: _ResultFile, sample_type: str) -> str | None:
        if not written.lines:
            return None
        kind = sample_type.removeprefix("batch_")
        stored = StoredFile(
            written.path.name,
            written.path,
            written.size_bytes,
            int(self._files.clock()),
            f"{self._job_id}_{kind}.jsonl",
            "batch",
            written.digest.hexdigest(),
            sample_type,
            written.lines,
            "mistral",
        )
        self._files.put(stored)
        return stored.id
