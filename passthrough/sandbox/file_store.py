"""Stores uploaded files on disk while the sandbox runs; finds them by id and by signed URL."""

from __future__ import annotations

import hmac
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from .errors import error, no_such_file

_SIGNED: Final = re.compile(r"/blobs/([0-9a-f-]{36})")
_EXPIRES: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file. `created_utc` is seconds since the epoch; `digest` is the SHA-256 of its bytes, hexadecimal.

    `sample_type` says what it holds (`batch_request`, `batch_result`, `batch_error`, else `ocr_input`), `num_lines` how many
    requests or results those are, `source` who made it: `upload` or `mistral`.
    """

    id: str
    path: Path
    size_bytes: int
    created_utc: int
    filename: str
    purpose: str
    digest: str
    sample_type: str = "ocr_input"
    num_lines: int = 0
    source: str = "upload"

    @property
    def mime(self) -> str:
        """The media type that the file's name suggests."""
        return mimetypes.guess_type(self.filename)[0] or "application/octet-stream"

    def to_json(self) -> dict[str, object]:
        """Return Mistral's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_utc,
            "filename": self.filename,
            "purpose": self.purpose,
            "sample_type": self.sample_type,
            "num_lines": self.num_lines,
            "mimetype": self.mime,
            "source": self.source,
            "signature": self.digest,
            "expires_at": None,
            "visibility": "workspace",
        }


class FileStore:
    """All files of one sandbox, newest first. A caller of `take` unlinks the file's path."""

    def __init__(self, directory: Path, secret: bytes, clock: Callable[[], float]) -> None:
        self.directory = directory
        self.clock = clock
        self._secret = secret
        self._files: dict[str, StoredFile] = {}

    def put(self, stored: StoredFile) -> None:
        """Add a file that is completely on disk."""
        self._files[stored.id] = stored

    def get(self, file_id: str) -> StoredFile:
        """Return a file. Raises Rejection (404)."""
        try:
            return self._files[file_id]
        except KeyError:
            raise no_such_file(file_id) from None

    def take(self, file_id: str) -> StoredFile:
        """Remove a file from the store and return it. Raises Rejection (404)."""
        stored = self.get(file_id)
        del self._files[file_id]
        return stored

    def listed(self, purpose: str | None = None, search: str = "") -> list[StoredFile]:
        """Return the files of a purpose (None: all) whose name has `search` in it, newest first."""
        files = reversed(self._files.values())
        return [stored for stored in files if purpose in {None, stored.purpose} and search in stored.filename]

    def signed_url(self, file_id: str, hours: int) -> str:
        """Return path and query of a URL that is valid for `hours` without credentials. Raises Rejection (404)."""
        expires = str(int(self.clock()) + hours * 3600)
        return f"/blobs/{self.get(file_id).id}?expires={expires}&signature={self._signature(file_id, expires)}"

    def by_signed_url(self, url: str) -> StoredFile:
        """Return the file of a signed URL, under any host and path prefix (there may be a proxy in front).

        Raises Rejection: 403 if the signature is wrong or has expired, 404 if it is no signed URL or the file is deleted.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise error(404, "not_found", "No signed URL.") from None
        found = _SIGNED.search(parts.path)
        if found is None or found.end() != len(parts.path):
            raise error(404, "not_found", "No signed URL.")
        query = parse_qs(parts.query)
        expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
        expected = self._signature(found[1], expires)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            raise error(403, "forbidden", "The signature of this URL is wrong.")
        if not _EXPIRES.fullmatch(expires) or int(expires) <= self.clock():
            raise error(403, "forbidden", "This URL has expired.")
        return self.get(found[1])

    def _signature(self, file_id: str, expires: str) -> str:
        return hmac.new(self._secret, f"{file_id}\n{expires}".encode("utf-8", "replace"), "sha256").hexdigest()
