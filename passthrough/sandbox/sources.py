"""Fetches the bytes of the document that a request names, out of the request or the file store, never from the network."""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from .errors import Rejection, no_such_file, not_fetched, not_inline, unreadable
from .file_store import FileStore, StoredFile
from .provider import Api, fail_if_asked
from .request import Source

_BLANKS: Final = b" \t\r\n"


def fetched(source: Source, files: FileStore, api: Api) -> bytes:
    """Return the bytes of the document; the only URLs that are fetched are those of the file store.

    Raises Rejection for what is not there or beyond the API's bound, and where the document's name asks for an error.
    """
    fail_if_asked(source.name)
    if api.inline_only and source.url[:5].lower() != "data:":
        raise not_inline(api)
    if source.file_id:
        return _content(files.get(source.file_id), api.max_document_bytes)
    if source.url[:5].lower() == "data:":
        return _data_uri(source.url, api.max_document_bytes)
    try:
        stored = files.by_signed_url(source.url)
    except Rejection:
        raise not_fetched(source.url) from None
    return _content(stored, api.max_document_bytes)


def _content(stored: StoredFile, most: int) -> bytes:
    fail_if_asked(stored.filename)
    _bounded(stored.size_bytes, most)
    try:
        return stored.path.read_bytes()
    except FileNotFoundError:  # deleted in the meantime
        raise no_such_file(stored.id) from None


def _data_uri(url: str, most: int) -> bytes:
    """Return the bytes of a data URI (RFC 2397); blanks within base64 and missing padding are accepted."""
    head, comma, content = url.partition(",")
    if not comma:
        raise not_fetched(url)
    if not head.lower().endswith(";base64"):
        document = unquote_to_bytes(content)
    else:
        packed = content.encode("ascii", "replace").translate(None, _BLANKS).rstrip(b"=")
        _bounded(len(packed) * 3 // 4, most)
        try:
            document = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
        except binascii.Error:
            raise unreadable("The data URI is not valid base64.") from None
    _bounded(len(document), most)
    return document


def _bounded(size_bytes: int, most: int) -> None:
    if size_bytes > most:
        raise unreadable(f"Document has {size_bytes} bytes, the limit is {most}.")
